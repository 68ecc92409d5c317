"""What it saves that agents of a machine share the processes of their servers, and what that costs their calls.

As many agents, with as many servers each, once with a process of each server for each agent, once with one for all.
Memory is that of the whole tree: agents, what they are forked from, all servers, and the process that holds the shared
ones; of what several have in common, each has its share (PSS).
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from omx_tasks.bench import fleet, forks, sleeper
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.place import Place, Row, independent
from omx_tasks.deploy.nursery import Nursery
from omx_tasks.mcp import launchers
from omx_tasks.memory import part_of
from omx_tasks.settings import Share

#: Agents, servers of each, and calls that are made for the throughput.
AGENTS, SERVERS, CALLS = 4, 6, 2000
#: Seconds for agents to end.
GRACE = 10.0
MEBIBYTE = 2**20

#: Servers for Python and for node that may be installed here; sleepers take the place of those that are not.
_MODULES = {
    "time": "mcp_server_time",
    "git": "mcp_server_git",
    "notes": "omx_tasks.examples.notes",
}
_PACKAGES = {
    "everything": ["@modelcontextprotocol/server-everything"],
    "memory": ["@modelcontextprotocol/server-memory"],
    "filesystem": ["@modelcontextprotocol/server-filesystem", tempfile.gettempdir()],
}


@dataclass(frozen=True)
class _Used:
    """MiB of the agents and of the servers, seconds until all were warm, and calls a second."""

    agents: float
    servers: float
    warm: float
    calls: float

    @property
    def whole(self) -> float:
        """MiB of all."""
        return self.agents + self.servers


def compare(place: Place, agents: int = AGENTS, calls: int = CALLS) -> list[Row]:
    """Return the rows of both, and how much less memory it is."""
    servers = available()
    own = _measure(place, servers, Share.NEVER, agents, calls)
    shared = _measure(place, servers, Share.DECLARED, agents, calls)
    what = f"{agents} agents x {len(servers)} servers"
    return [
        *_rows(f"{what}, own", own),
        *_rows(f"{what}, shared", shared),
        Row("whole machine less by", 100 * (1 - shared.whole / own.whole), "%", Goal("≥", 60)),
        Row("calls on one server, own sessions", own.calls, "/s"),
        Row("calls on one server, one shared", shared.calls, "/s"),
    ]


def available() -> dict[str, dict[str, Any]]:
    """Return the servers to start: a sleeper, those that are installed here, and more sleepers for the rest."""
    found = {"sleeper": _python(sleeper.__file__)}
    for name, module in _MODULES.items():
        if importlib.util.find_spec(module):
            found[name] = _python("-m", module)
    for name, words in _PACKAGES.items():
        command, args = launchers.direct("npx", ["-y", *words], dict(os.environ), None)
        if command != "npx":
            found[name] = {"command": command, "args": list(args), "omx": {"shared": True}}
    for number in range(2, SERVERS + 1):
        found.setdefault(f"sleeper{number}", _python(sleeper.__file__))
    return dict(list(found.items())[:SERVERS])


def _python(*args: str) -> dict[str, Any]:
    return {"command": sys.executable, "args": [*args], "omx": {"shared": True}}


def _rows(title: str, used: _Used) -> list[Row]:
    return [
        Row(f"{title}: agents", used.agents, "MiB"),
        Row(f"{title}: servers", used.servers, "MiB"),
        Row(f"{title}: all warm after", used.warm, "s"),
    ]


def _measure(
    place: Place, servers: Mapping[str, Any], share: Share, agents: int, calls: int
) -> _Used:
    place.say(f"{agents} agents with {', '.join(servers)}: share {share}")
    path = place.folder / f"share-{share}.json"
    # Names of its own: what agents of before have told of theirs is not waited for.
    named = {f"{name}_{share}": server for name, server in servers.items()}
    path.write_text(json.dumps({"mcpServers": named}), "utf-8")
    environ = fleet.environ(
        place.store,
        OMX_MCP_CONFIG=str(path),
        OMX_SHARE=share,
        XDG_RUNTIME_DIR=str(place.folder),
    )
    began = time.monotonic()
    with _agents(place, share, agents, environ, path) as nursery:
        warm = time.monotonic() - began
        memory = _memory(nursery, path)
        began = time.monotonic()
        place.run(independent(f"sleeper_{share}", calls))
        return _Used(*memory, warm, calls / (time.monotonic() - began))


@contextmanager
def _agents(
    place: Place, name: str, count: int, environ: Mapping[str, str], path: Path
) -> Iterator[Nursery]:
    try:
        with forks.nursery(place, name, environ, count, count) as nursery:
            yield nursery
    finally:
        psutil.wait_procs(_holders(path), GRACE)  # they leave when they see that nobody needs them


def _memory(nursery: Nursery, path: Path) -> tuple[float, float]:
    """Return the MiB of the agents and what they are forked from, and of their servers with their holder."""
    agents = set(forks.pids_of(nursery))
    every = [*_tree(agents), *_tree({one.pid for one in _holders(path)})]
    used = {one.pid: _pss(one) for one in every}
    own = sum(mebibytes for pid, mebibytes in used.items() if pid in agents)
    return own, sum(used.values()) - own


def _tree(roots: set[int]) -> list[psutil.Process]:
    found = [psutil.Process(pid) for pid in roots]
    return [*found, *(child for one in found for child in one.children(recursive=True))]


def _holders(path: Path) -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline"])
    words = ("workers.servers", str(path))
    return [one for one in found if all(word in (one.info["cmdline"] or ()) for word in words)]


def _pss(process: psutil.Process) -> float:
    try:
        return part_of(process) / MEBIBYTE
    except psutil.NoSuchProcess:
        return 0.0
