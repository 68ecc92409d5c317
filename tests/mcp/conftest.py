"""Real servers, a loop as the product uses it, and the promise that no process is left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from omx_tasks.cluster.ports import reserved_ports
from omx_tasks.errors import OperationError
from omx_tasks.mcp.access import Access
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.mcp.session import Session

SERVERS = Path(__file__).parent / "servers"

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Make = Callable[..., ServerConfig]


@pytest.fixture
def agent() -> Iterator[str]:
    """A name that no other test uses; at the end, no process may bear it."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    gc.collect()
    _, alive = psutil.wait_procs(_processes_of(name), timeout=30)
    for process in alive:
        process.kill()
    assert not alive, f"left behind: {alive}"


@pytest.fixture
def loop(agent: str) -> Iterator[LoopThread]:
    thread = LoopThread()
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture
def run(loop: LoopThread) -> Run:
    """Run a coroutine on the loop, for at most a hundred seconds."""
    return lambda work: loop.run(work, 100)


@pytest.fixture
def script(tmp_path: Path) -> Make:
    """Make the settings of a server from ``servers/NAME.py``."""

    def make(name: str, *args: str, **keys: Any) -> ServerConfig:
        return ServerConfig(
            name=keys.pop("called", name),
            path=tmp_path / "mcp.json",
            transport="stdio",
            command=sys.executable,
            args=(str(SERVERS / f"{name}.py"), *args),
            **keys,
        ).resolved({})

    return make


@pytest.fixture
def module(tmp_path: Path) -> Make:
    """Make the settings of a server that is run as a module."""

    def make(name: str, *args: str) -> ServerConfig:
        return ServerConfig(
            name=name,
            path=tmp_path / "mcp.json",
            transport="stdio",
            command=sys.executable,
            args=("-m", name, *args),
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
        ).resolved({})

    return make


@pytest.fixture
def web(agent: str, tmp_path: Path) -> Iterator[Callable[[str], tuple[ServerConfig, psutil.Popen]]]:
    """Start ``modern.py`` as an HTTP server, ``http`` or ``sse``, and return how to reach it."""
    started: list[psutil.Popen] = []
    reserved = ExitStack()

    def start(transport: str) -> tuple[ServerConfig, psutil.Popen]:
        (port,) = reserved.enter_context(reserved_ports(1))
        process = psutil.Popen(
            [sys.executable, str(SERVERS / "modern.py"), transport, str(port)],
            env={**os.environ, "OMX_AGENT": agent},
            stderr=subprocess.PIPE,
        )
        started.append(process)
        for line in process.stderr:
            if b"running on" in line:
                break
        url = f"http://127.0.0.1:{port}/{'mcp' if transport == 'http' else 'sse'}"
        return (
            ServerConfig("web", tmp_path / "mcp.json", transport, url=url, is_resolved=True),
            process,
        )

    yield start
    for process in started:
        process.kill()
        process.wait(60)
        process.stderr.close()
    reserved.close()


class Guarded:
    """A running ``guarded.py``: how to reach it, and its switches."""

    def __init__(self, process: psutil.Popen, url: str, folder: Path) -> None:
        self.process = process
        self.url = url
        self._folder = folder
        self._trust = ssl.create_default_context()
        self._trust.check_hostname, self._trust.verify_mode = False, ssl.CERT_NONE

    def config(self, **keys: Any) -> ServerConfig:
        access = Access(keys.pop("ca", None), keys.pop("auth", None))
        url = self.url + keys.pop("path", "/mcp")
        return ServerConfig(
            "web", self._folder / "mcp.json", "http", url=url, access=access, **keys
        ).resolved({})

    def switch(self, **switches: Any) -> dict[str, Any]:
        data = json.dumps(switches).encode() if switches else None
        asked = urllib.request.Request(f"{self.url}/switch", data)
        with urllib.request.urlopen(asked, context=self._trust, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture
def guarded(agent: str, tmp_path: Path) -> Iterator[Callable[..., Guarded]]:
    """Start ``guarded.py`` with these arguments."""
    started: list[psutil.Popen] = []

    def start(*args: str) -> Guarded:
        process = psutil.Popen(
            [sys.executable, str(SERVERS / "guarded.py"), *args],
            env={**os.environ, "OMX_AGENT": agent},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        started.append(process)
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "guarded.py ended"
            found = re.search(rb"running on (\S+)", line)
        return Guarded(process, found[1].decode(), tmp_path)

    yield start
    for process in started:
        process.kill()
        process.wait(60)
        process.stderr.close()


async def failure(work: Coroutine[Any, Any, Any]) -> OperationError:
    """Return the error that ``work`` must end with."""
    with pytest.raises(OperationError) as caught:
        await work
    return caught.value


@pytest.fixture
def begin():
    """Start a call, and return its task once the call is on its way, ahead of any later one."""

    async def begin(session: Session, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        before = len(session.flights)
        task = asyncio.create_task(work)
        while len(session.flights) == before:
            await asyncio.sleep(0)
        return task

    return begin


@pytest.fixture
def fails() -> Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, OperationError]]:
    return failure


def _processes_of(agent: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("OMX_AGENT") == agent:
                found.append(process)
        except psutil.Error:
            continue
    return found
