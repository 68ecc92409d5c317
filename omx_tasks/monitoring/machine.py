"""What a system needs beside its servers: programs, limits, a cluster with replicas, agents with the same file."""

from __future__ import annotations

import platform
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal, TypeAlias

from omx_tasks.agents.registry import AgentRecord, agents, broken_servers
from omx_tasks.agents.scaling.nurseries import NurseryRecord, nurseries
from omx_tasks.durability import Durability
from omx_tasks.errors import OmxError
from omx_tasks.mcp.config import ServerFile
from omx_tasks.settings import Settings
from omx_tasks.store import keys, shards
from omx_tasks.store.client import Store

State: TypeAlias = Literal["well", "note", "wrong"]

#: Seconds in which the cluster must answer, and those of silence after which an agent does not consume.
REACH, SILENT = 3.0, 30.0
#: Open files with which an agent has room for its servers (three pipes each), its links and its calls over HTTP.
FILES = 1024
_PROGRAMS = ("omx-tasks", "mcp", "celery")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, and what to do where it is not well."""

    name: str
    state: State
    text: str
    remedy: str = ""


def look(url: str | None, settings: Settings, servers: ServerFile | None) -> list[Finding]:
    """Look at this machine, and at the cluster at ``url`` with its agents, if there is one."""
    return [_versions(), _files(), *_cluster(url, settings, servers)]


def _versions() -> Finding:
    programs = ", ".join(f"{name} {version(name)}" for name in _PROGRAMS)
    return Finding("versions", "well", f"{programs}, Python {platform.python_version()}")


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES:
        return Finding("open files", "well", f"{soft:,} allowed" if soft > 0 else "any number")
    can = hard == resource.RLIM_INFINITY or hard >= FILES
    how = f"ulimit -n {FILES * 4 if hard > FILES * 4 or hard < 0 else hard}"
    remedy = f"{how}, where agents are started" if can else "have the limit raised"
    return Finding("open files", "note", f"only {soft:,} allowed", remedy)


def _cluster(url: str | None, settings: Settings, servers: ServerFile | None) -> list[Finding]:
    if url is None:
        start = "omx up --detach, or name a cluster in OMX_BROKER_URL"
        return [Finding("cluster", "note", "no system is up", start)]
    store = Store.configured(url, settings)
    try:
        store.ping(REACH)
        found = [_server(store), _durability(store, settings)]
        return [*found, *_agents(agents(store), servers), *_crashing(nurseries(store))]
    except OmxError as error:
        remedy = "see whether it runs: omx cluster status"
        return [Finding("cluster", "wrong", str(error), remedy)]
    finally:
        store.close()


def _server(store: Store) -> Finding:
    lines = store.command(keys.agents(), "INFO", "server").decode().splitlines()
    about = dict(line.split(":", 1) for line in lines if ":" in line)
    name = about.get("server_name", "redis").capitalize()
    number = about.get(f"{name.lower()}_version", about.get("redis_version", "?"))
    return Finding("cluster", "well", f"reachable, {name} {number}")


def _durability(store: Store, settings: Settings) -> Finding:
    found = shards.count(store)
    promise = settings.promise
    if told := found.told(promise):
        state: State = "note" if promise.durability is Durability.MEMORY else "wrong"
        return Finding("durability", state, told, "omx cluster heal, or start their replicas")
    text = f"{promise.durability}: {found.total} shards, each with a replica"
    return Finding("durability", "well", text)


def _agents(found: list[AgentRecord], servers: ServerFile | None) -> list[Finding]:
    if not found:
        start = "omx up --detach, or celery -A omx_tasks worker"
        return [Finding("agents", "wrong", "none is up, so nothing is run", start)]
    noun = "agent" if len(found) == 1 else "agents"
    findings = [Finding("agents", "well", f"{len(found)} {noun} up")]
    others = [one.name for one in found if servers is not None and one.config != servers.digest]
    if others and servers is not None:
        text = f"{_some(others)} run with another server file than {servers.path.name}, or before it was changed"
        findings.append(
            Finding("agents", "wrong", text, "restart them with this one (omx down, omx up)")
        )
    mute = [one.name for one in found if (one.silence or 0) > SILENT]
    if mute:
        text = f"{_some(mute)} have not heard of the cluster for {SILENT:.0f} s"
        findings.append(Finding("agents", "wrong", text, "see their logs, and restart them"))
    for name in broken_servers(found):
        text = f"no agent could start server {name!r}"
        findings.append(Finding("agents", "wrong", text, "see what is said of it above"))
    return findings


def _crashing(kept: list[NurseryRecord]) -> Iterator[Finding]:
    """Yield what is wrong with agents that die again and again."""
    for nursery in kept:
        loops = {name: one for name, one in nursery.agents.items() if one["state"] == "crash loop"}
        if loops:
            reason = next(iter(loops.values()))["reason"]
            text = f"{_some(list(loops))}: in a crash loop, the last one {reason}"
            yield Finding("agents", "wrong", text, f"see their logs on {nursery.host}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
