"""``omx`` as its users run it: real processes, each test with a folder and a home of its own, or the shared system."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

OMX = Path(sys.executable).with_name("omx")
FORKS = Path(__file__).with_name("forks.py")
GATE = Path(__file__).parent / "servers" / "gate.py"
#: The servers of the shared system that are not broken.
USED = ["gate", "notes", "time"]
PATIENCE = 100.0


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out.count("\n") == 1, f"not one line: {self.out!r} {self.err!r}"
        return json.loads(self.out)


class Forks:
    """The process that runs ``omx`` in forks of itself, one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, job: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        with self._process:
            pass


_forks = cache(Forks)


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[None]:
    yield
    if _forks.cache_info().currsize:
        _forks().close()


class Place:
    """A folder with a server file, and a home: what a user has. Everything started in it can be found again."""

    def __init__(self, root: Path, servers: dict[str, Any]) -> None:
        self.root = root
        self.folder = root / "work"
        self.home = root / "data" / "omx"
        self.temporary = root / "tmp"
        for folder in (self.folder, self.temporary):
            folder.mkdir(parents=True)
        self.servers(servers)

    def servers(self, servers: dict[str, Any], name: str = ".mcp.json") -> Path:
        """Write a server file; each server carries the place's name in its environment."""
        marked = {
            key: {**server, "env": {"TEST_PLACE": str(self.root)}}
            for key, server in servers.items()
        }
        path = self.folder / name
        path.write_text(json.dumps({"mcpServers": marked}), "utf-8")
        return path

    def graph(self, text: str, name: str = "graph.yaml") -> Path:
        path = self.folder / name
        path.write_text(text, "utf-8")
        return path

    def environ(self, **extra: str) -> dict[str, str]:
        ours = {key: value for key, value in os.environ.items() if not key.startswith("OMX_")}
        return ours | {
            "XDG_DATA_HOME": str(self.root / "data"),
            "TMPDIR": str(self.temporary),
            **extra,
        }

    def omx(self, *words: object, **environ: str) -> Answer:
        """Run ``omx WORDS…`` to its end, in a process of its own that need not import it first."""
        out, err = self.root / "answer.out", self.root / "answer.err"
        job = {
            "words": [str(word) for word in words],
            "folder": str(self.folder),
            "environ": self.environ(**environ),
            "out": str(out),
            "err": str(err),
            "seconds": round(PATIENCE),
        }
        code = _forks().run(job)
        return Answer(code, out.read_text("utf-8"), err.read_text("utf-8"))

    def start(self, *words: object, **environ: str) -> Started:
        """Start ``omx WORDS…``."""
        return Started(self, [str(word) for word in words], self.environ(**environ))

    def processes(self) -> list[psutil.Process]:
        """Return every process that was started from here, directly or not."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            words = [*process.cmdline(), *process.environ().values()]
            return str(self.root) in "\0".join(words) and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def until_nothing_is_left(self) -> None:
        """Wait for the end of every process, and look for folders that nobody will remove."""
        deadline = time.monotonic() + 30
        while left := self.processes():
            assert time.monotonic() < deadline, [(p.pid, p.cmdline()) for p in left]
            threading.Event().wait(0.05)
        assert not list(self.temporary.iterdir())
        assert not (self.home / "system.json").exists()

    def until_whole(self) -> None:
        """Wait until both agents of the system are there with all servers that can be used, as after one was killed."""
        deadline = time.monotonic() + PATIENCE
        while [one["servers"] for one in self.omx("agents", "--json").json] != [USED, USED]:
            assert time.monotonic() < deadline, self.omx("agents").out
            threading.Event().wait(0.05)

    def kill_all(self) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


class Started:
    """A command that runs; what it writes is in files, so that it never waits for a reader."""

    def __init__(self, place: Place, words: list[str], environ: dict[str, str]) -> None:
        self._place = place
        self._out = place.root / f"out-{time.monotonic_ns()}"
        self._err = self._out.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [OMX, *words],
                cwd=place.folder,
                env=environ,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
            )

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    def until(self, condition: Callable[[], object], seconds: float = 90.0) -> None:
        """Wait for a condition while it runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not in time; standard error: {self.err}"
            threading.Event().wait(0.01)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Answer:
        code = self.process.wait(PATIENCE)
        return Answer(code, self.out, self.err)


def notes(root: Path) -> dict[str, Any]:
    return {
        "command": sys.executable,
        "args": ["-m", "omx_tasks.examples.notes", "--out", str(root / "notes")],
    }


TIME = {"command": sys.executable, "args": ["-m", "mcp_server_time"]}
GATED = {"command": sys.executable, "args": ["-S", str(GATE)], "omx": {"read_only": ["look"]}}


@pytest.fixture
def gated() -> dict[str, Any]:
    """What a server file says of the gate."""
    return GATED


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory, forks: None) -> Iterator[Place]:
    """The one running system that tests share: notes, time, the gate, and a server that is broken."""
    root = tmp_path_factory.mktemp("system")
    broken = {"command": sys.executable, "args": ["-c", "raise SystemExit('no licence')"]}
    place = Place(root, {"notes": notes(root), "time": TIME, "gate": GATED, "broken": broken})
    try:
        up = place.omx("up", "--detach", "--json", OMX_LEASE="2", OMX_OVERDUE="3")
        assert up.code == 0, up.err
        assert [up.err.count(step) for step in ("2 agents warm", "run a graph")] == [1, 1]
        assert [one["leads"] for one in place.omx("coordinators", "--json").json] == [True]
        yield place
        assert place.omx("down").code == 0
        place.until_nothing_is_left()
    finally:
        place.kill_all()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A folder with the gate as its only server; nothing is up, and nothing may be left after the test."""
    place = Place(tmp_path, {"gate": GATED})
    try:
        yield place
        place.until_nothing_is_left()
    finally:
        place.kill_all()


class Gate:
    """A file that the gate's tools wait for, and the record of their calls."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate"
        self.calls = folder / "calls"

    @property
    def callers(self) -> list[int]:
        """The process ids of the agents that made the calls so far."""
        return [int(word) for word in self.calls.read_text().split()] if self.calls.exists() else []

    def open(self) -> None:
        self.path.touch()

    def graph(self, tool: str = "look", **more: object) -> str:
        """Return a graph with one call of the gate, and what follows it."""
        arguments = {"gate": str(self.path), "calls": str(self.calls)}
        first = {"id": "wait", "server": "gate", "tool": tool, "arguments": arguments, **more}
        then = {
            "id": "then",
            "server": "gate",
            "tool": "look",
            "needs": ["wait"],
            "arguments": arguments,
        }
        return json.dumps({"name": "gated", "operations": [first, then]})


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.open()
