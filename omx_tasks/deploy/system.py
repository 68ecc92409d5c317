"""The whole system on this machine: an embedded cluster, agents, a coordinator, and one supervisor for them.

::

    start ──► cluster ready ──► agents started ──► every agent warm ──► coordinator started ──► ready
      │            │                  │                  │                       │
      └── error ───┴──────────────────┴──────────────────┴───────────────────────┴──► stop: nothing is left behind

All processes are bound to the supervisor: they end when it does, however it ends. While the system is up, an agent
that dies is started again (after a pause that doubles), and what its servers left is ended.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil

from omx_tasks import settings
from omx_tasks.agents.templates import EVERYTHING
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.deploy import reaper
from omx_tasks.deploy.interrupts import held_back, ignored
from omx_tasks.deploy.process import Process, end_all
from omx_tasks.errors import UnavailableError
from omx_tasks.home import Home, System
from omx_tasks.mcp.config import ServerFile
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds in which all agents must be warm.
WARM = 90.0
#: Seconds in which what is under way may end when a system stops; and where its only run is over anyway.
GRACE, SHORT_GRACE = 15.0, 2.0
POLL = 0.02
#: Seconds between two looks at the processes.
LOOK = 0.2


@dataclass
class LocalSystem:
    """A system in one home. ``say`` is told each step in words; ``grace``: seconds for what is under way at the end."""

    home: Home
    servers: ServerFile
    environ: Mapping[str, str]
    agents: int = 2
    slots: int = 32
    say: Callable[[str], None] = lambda _text: None
    grace: float = GRACE
    url: str = ""
    _processes: list[Process] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None

    def start(self) -> None:
        """Bring everything up; when this returns all agents are warm. A failure takes all down again.

        Raises `ConfigurationError` where one is up in this home, or it cannot be written to.
        """
        self.home.claim()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        began = time.monotonic()
        with held_back():
            cluster = self._cluster()
            cluster.up(bound=True)
            self.url = cluster.url()
            self._record(ready=False)
        self.say(f"cluster ready: 3 masters, 3 replicas ({time.monotonic() - began:.1f} s)")
        reaper.reap(_is_ours_and_dead)
        _forget_agents(self.url)
        with held_back():
            for name in self._agent_names():
                self._add(name, ["-m", "workers.agent", "--name", self._node(name)])
        self._wait_until_warm()
        with held_back():
            self._add("coordinator", ["-m", "workers.coordinator"])
            self._record(ready=True)
            self._keeper = threading.Thread(target=self._keep, name="supervisor", daemon=True)
            self._keeper.start()
        noun = "agent" if self.agents == 1 else "agents"
        self.say(f"{self.agents} {noun} warm ({time.monotonic() - began:.1f} s)")

    def _cluster(self) -> EmbeddedCluster:
        return EmbeddedCluster(self.home.cluster, server=settings.current().redis_server)

    def _agent_names(self) -> list[str]:
        return [f"agent{number}" for number in range(1, self.agents + 1)]

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
        process.start(self._environ())

    def _environ(self) -> dict[str, str]:
        ours = {
            "OMX_BROKER_URL": self.url,
            "OMX_RESULT_URL": self.url,
            "OMX_MCP_CONFIG": str(self.servers.path.resolve()),
            "OMX_SLOTS": str(self.slots),
            "OMX_TEMPLATE": EVERYTHING,
            "OMX_LOG_DIR": str(self.home.logs),
        }
        return {**self.environ, **ours}

    def _wait_until_warm(self) -> None:
        """Wait for the first heartbeat of every agent."""
        store = Store(self.url)
        wanted = {self._node(name) for name in self._agent_names()}
        deadline = time.monotonic() + WARM
        try:
            while not wanted <= _heard(store):
                self._check_processes(deadline)
                if self._stopping.wait(POLL):
                    raise UnavailableError("stopped before the agents were warm")
        finally:
            store.close()

    def _check_processes(self, deadline: float) -> None:
        for process in self._processes:
            if not process.alive:
                raise UnavailableError(f"{process.name} ended while it started:\n{process.tail()}")
        if time.monotonic() > deadline:
            logs = self.home.logs
            raise UnavailableError(f"the agents were not warm in {WARM:.0f} s; see {logs}")

    def _keep(self) -> None:
        """Start again what died, until the system stops."""
        while not self._stopping.wait(LOOK):
            for process in self._processes:
                if not process.alive and not self._stopping.is_set():
                    self._revive(process)

    def _revive(self, process: Process) -> None:
        if process.next_start is None:
            pause = process.plan_next_start()
            self.say(f"{process.name} ended; it is started again in {pause:g} s")
            reaper.reap(self._node(process.name).__eq__)
        elif process.is_due:
            process.start(self._environ())

    # --- the end ------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Drain the agents, end every process, stop the cluster. Safe to call twice, and not interrupted."""
        with ignored():
            self._stopping.set()
            if self._keeper is not None:
                self._keeper.join(10.0)
            end_all(self._processes, self.grace)
            names = {self._node(process.name) for process in self._processes}
            if names:
                reaper.reap(names.__contains__)
            if self.url:
                with contextlib.suppress(UnavailableError):
                    self._cluster().down()
                self.home.clear()
            self.home.release()


def _heard(store: Store) -> set[str]:
    answer = store.command(keys.agents(), "HKEYS", keys.agents())
    return {name.decode() for name in answer}


def _forget_agents(url: str) -> None:
    """Remove what the agents of an earlier system said of themselves and of their servers."""
    store = Store(url)
    try:
        store.command(keys.agents(), "DEL", keys.agents())
        store.command(keys.catalogue(), "DEL", keys.catalogue())
    finally:
        store.close()


def _is_ours_and_dead(agent: str) -> bool:
    """Whether this is the name of an agent of a supervisor on this machine that is gone."""
    _, _, host = agent.partition("@")
    name, _, pid = host.rpartition("-")
    return name == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))
