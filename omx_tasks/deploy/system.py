"""The whole system on this machine: an embedded cluster, agents, a coordinator, and one supervisor for them.

::

    start ──► cluster ready ──► agents and coordinator started ──► every agent warm ──► ready
      │            │                        │                            │
      └── error ───┴────────────────────────┴────────────────────────────┴──► stop: nothing is left behind

All processes are bound to the supervisor: they end when it does, however it ends. While the system is up, an agent
that dies is started again (after a pause that doubles), and what its servers left is ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.launch import Launched, launch
from omx_tasks.deploy import reaper
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.home import Home, System
from omx_tasks.mcp.config import ServerFile
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds in which all agents must be warm, and in which one must end after SIGTERM.
WARM, GRACE = 90.0, 15.0
POLL = 0.02
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
TAIL = 2000


@dataclass
class Process:
    """One supervised process: its command, and the pause before the next start."""

    name: str
    command: list[str]
    log: Path
    launched: Launched | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    next_start: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.launched is not None and not self.launched.ended.is_set()

    def tail(self) -> str:
        """Return the end of what it wrote."""
        with contextlib.suppress(OSError):
            return self.log.read_text("utf-8", errors="replace")[-TAIL:].strip()
        return ""


@dataclass
class LocalSystem:
    """A system in one home. ``say`` is told each step in words."""

    home: Home
    servers: ServerFile
    environ: Mapping[str, str]
    agents: int = 2
    slots: int = 32
    say: Callable[[str], None] = lambda _text: None
    url: str = ""
    _processes: list[Process] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None

    def start(self) -> None:
        """Bring everything up; when this returns all agents are warm. A failure takes all down again."""
        if self.home.read() is not None:
            raise ConfigurationError(
                f"a system is up already in {self.home.folder}: use it, or end it with `omx down`"
            )
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        began = time.monotonic()
        self.home.logs.mkdir(parents=True, exist_ok=True)
        cluster = self._cluster()
        cluster.up(bound=True)
        self.url = cluster.url()
        self._record(ready=False)
        self.say(f"cluster ready: 3 masters, 3 replicas ({time.monotonic() - began:.1f} s)")
        for number in range(1, self.agents + 1):
            name = f"agent{number}"
            self._add(name, ["-m", "workers.agent", "--name", self._node(name)])
        self._add("coordinator", ["-m", "workers.coordinator"])
        self._wait_until_warm()
        self._record(ready=True)
        self.say(f"{self.agents} agents warm ({time.monotonic() - began:.1f} s)")
        self._keeper = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self._keeper.start()

    def _cluster(self) -> EmbeddedCluster:
        return EmbeddedCluster(self.home.cluster)

    def _node(self, name: str) -> str:
        """Return the agent's node name, unique on this machine: two homes have an ``agent1`` each."""
        return f"{name}@{socket.gethostname()}-{os.getpid()}"

    def _record(self, *, ready: bool) -> None:
        me = psutil.Process()
        self.home.write(
            System(
                pid=me.pid,
                started=me.create_time(),
                broker_url=self.url,
                mcp_config=str(self.servers.path.resolve()),
                digest=self.servers.digest,
                agents=self.agents,
                slots=self.slots,
                ready=ready,
            )
        )

    # --- processes ----------------------------------------------------------------------------------

    def _add(self, name: str, arguments: list[str]) -> None:
        process = Process(name, [sys.executable, *arguments], self.home.logs / f"{name}.log")
        self._processes.append(process)
        self._launch(process)

    def _launch(self, process: Process) -> None:
        process.started = time.monotonic()
        process.launched = launch(process.command, process.log, bound=True, environ=self._environ())

    def _environ(self) -> dict[str, str]:
        return {
            **self.environ,
            "OMX_BROKER_URL": self.url,
            "OMX_MCP_CONFIG": str(self.servers.path.resolve()),
            "OMX_SLOTS": str(self.slots),
            "OMX_LOG_DIR": str(self.home.logs),
        }

    def _wait_until_warm(self) -> None:
        store = Store(self.url)
        wanted = {self._node(f"agent{number}") for number in range(1, self.agents + 1)}
        deadline = time.monotonic() + WARM
        try:
            while not wanted <= self._heard(store):
                self._check_processes(deadline)
                if self._stopping.wait(POLL):
                    raise UnavailableError("stopped before the agents were warm")
        finally:
            store.close()

    def _heard(self, store: Store) -> set[str]:
        answer = store.command(keys.agents(), "HKEYS", keys.agents())
        return {name.decode() for name in answer}

    def _check_processes(self, deadline: float) -> None:
        for process in self._processes:
            if not process.alive:
                raise UnavailableError(f"{process.name} ended while it started:\n{process.tail()}")
        if time.monotonic() > deadline:
            logs = self.home.logs
            raise UnavailableError(f"the agents were not warm in {WARM:.0f} s; see {logs}")

    def _keep(self) -> None:
        """Start again what died, until the system stops."""
        while not self._stopping.wait(0.2):
            for process in self._processes:
                if not process.alive and not self._stopping.is_set():
                    self._revive(process)

    def _revive(self, process: Process) -> None:
        now = time.monotonic()
        if process.next_start == 0.0:
            lived = now - process.started
            process.pause = FIRST_PAUSE if lived > LONGEST_PAUSE else process.pause * 2
            process.next_start = now + min(process.pause, LONGEST_PAUSE)
            reaper.reap(lambda mark: mark == self._node(process.name))
            self.say(f"{process.name} ended; it is started again")
        if now >= process.next_start:
            process.next_start = 0.0
            self._launch(process)

    # --- the end ------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Drain the agents, end every process, stop the cluster. Safe to call twice."""
        self._stopping.set()
        if self._keeper is not None:
            self._keeper.join(10.0)
        self._end_processes()
        names = {self._node(process.name) for process in self._processes}
        if names:
            reaper.reap(names.__contains__)
        if self.url:
            with contextlib.suppress(UnavailableError):
                self._cluster().down()
        self.home.clear()

    def _end_processes(self) -> None:
        for sign, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 5.0)):
            alive = [process.launched for process in self._processes if process.alive]
            deadline = time.monotonic() + patience
            for launched in alive:
                if launched is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(launched.pid, sign)
            for launched in alive:
                if launched is not None:
                    launched.ended.wait(max(0.0, deadline - time.monotonic()))
