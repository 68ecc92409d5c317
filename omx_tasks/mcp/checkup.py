"""One server, looked at as a whole: started or reached, asked, measured, and ended again."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from omx_tasks.errors import ConfigurationError, OperationError
from omx_tasks.mcp import postmortem, remedies
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.session import Session

#: Questions to a server that is warm; the fastest answer counts.
QUESTIONS = 3
_LAUNCHERS = ("npx", "uvx", "pnpm", "bunx")
_LAST_WORDS = " Its standard error ended with:\n"


@dataclass(frozen=True)
class Checkup:
    """How a server is. ``wrong`` and ``remedy`` are None where it is well; ``notes`` is what could be better.

    ``cold`` and ``warm`` are seconds: to start and negotiate, and to list its tools then. ``memory`` is in bytes, of
    all its ``processes``; ``reads`` counts tools that only read, ``idempotent`` others that may be repeated.
    """

    server: str
    transport: str
    wrong: str | None = None
    remedy: str | None = None
    words: str = ""
    notes: tuple[str, ...] = ()
    cold: float | None = None
    warm: float | None = None
    protocol: str | None = None
    version: str | None = None
    tools: int = 0
    reads: int = 0
    idempotent: int = 0
    resources: int = 0
    prompts: int = 0
    pid: int | None = None
    processes: int = 0
    memory: int = 0

    @property
    def well(self) -> bool:
        """Whether it can be used."""
        return self.wrong is None


async def look(config: ServerConfig, deadline: float, environ: Mapping[str, str]) -> Checkup:
    """Look at a server; ``deadline`` is how many seconds it may take to start."""
    try:
        config = config.resolved(environ)
    except ConfigurationError as error:
        said = str(error).replace(f"{config.path}: server {config.name!r}: ", "")
        return Checkup(config.name, config.transport, said)
    try:
        session = await Session.open(config, deadline=deadline, agent=f"doctor-{os.getpid()}")
    except OperationError as error:
        return _failed(config, error.message, environ)
    try:
        return await _described(session, deadline)
    finally:
        await session.close()


async def _described(session: Session, deadline: float) -> Checkup:
    about, config = session.description, session.config
    warm = await _warm(session, deadline)
    reads = session.annotated("readOnlyHint") | config.hints.read_only
    idempotent = (session.annotated("idempotentHint") | config.hints.idempotent) - reads
    names = session.names("tool")
    processes, memory = _usage(session.pid)
    silent = "it started, and then did not answer" if warm is None else None
    return Checkup(
        server=config.name,
        transport=config.transport,
        wrong=silent,
        remedy="restart it and see its own log" if silent else None,
        notes=tuple(_notes(config, names, reads)),
        cold=session.cold_seconds,
        warm=warm,
        protocol=about["protocol"],
        version=about["version"] or None,
        tools=len(names),
        reads=len(reads & names),
        idempotent=len(idempotent & names),
        resources=len(about["resources"]) + len(about["resourceTemplates"]),
        prompts=len(about["prompts"]),
        pid=session.pid,
        processes=processes,
        memory=memory,
    )


async def _warm(session: Session, deadline: float) -> float | None:
    """Return how long the fastest of a few answers took; None without one."""
    times = []
    for _ in range(QUESTIONS):
        began = time.perf_counter()
        if not await session.answers(deadline):
            return None
        times.append(time.perf_counter() - began)
    return min(times)


def _usage(pid: int | None) -> tuple[int, int]:
    """Return how many processes a server consists of, and their resident memory in bytes."""
    if pid is None:
        return 0, 0
    found: list[int] = []
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                found.append(process.memory_info().rss)
    return len(found), sum(found)


def _failed(config: ServerConfig, message: str, environ: Mapping[str, str]) -> Checkup:
    said, _, words = message.partition(_LAST_WORDS)
    said = said.removeprefix(f"server {config.name!r} ({postmortem.what(config)}) ")
    said = said.removesuffix(f" See {config.name!r} in {config.path}.")
    wrong, _, remedy = said.removesuffix(".").partition("; ")
    known = remedies.of_words(f"{wrong}\n{words}")
    if config.transport == "stdio":
        known = remedies.of_command(config, environ) or known
    remedy = known or remedy
    return Checkup(config.name, config.transport, wrong, remedy or _by_hand(config), words)


def _by_hand(config: ServerConfig) -> str:
    if config.transport == "stdio":
        return "run its command by hand and see; OMX_SERVER_START_TIMEOUT gives it more time"
    return "see whether the url is right, and its own log"


def _notes(config: ServerConfig, names: frozenset[str], reads: frozenset[str]) -> list[str]:
    unknown = sorted((config.hints.read_only | config.hints.idempotent) - names)
    found = [f"omx names tools that it does not have: {', '.join(unknown)}"] if unknown else []
    if names and not reads & names:
        found.append(
            "no tool says that it only reads, so calls take turns and are not repeated; "
            "name those that do in omx.read_only"
        )
    if Path(config.command).name in _LAUNCHERS:
        found.append(
            "its launcher costs time at each start, and memory beside the server; "
            "install the package and name its program"
        )
    if config.transport == "sse":
        found.append("HTTP with SSE is deprecated; see whether it offers streamable HTTP")
    if (config.headers or config.access.auth) and _in_the_clear(config.url):
        found.append("its url is http: what lets you in can be read on the way")
    return found


def _in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or host == "localhost":
        return False
    with contextlib.suppress(ValueError):
        return not ipaddress.ip_address(host).is_loopback
    return True


def as_json(checkup: Checkup) -> dict[str, Any]:
    """Return plain JSON."""
    return {**vars(checkup), "well": checkup.well, "notes": list(checkup.notes)}
