"""The whole system on this machine: an embedded cluster, agents, a coordinator, an exporter, one supervisor.

::

    start ──► cluster ready ──► agents, coordinator, exporter started ──► every agent warm ──► ready
      │            │                              │                              │
      └── error ───┴──────────────────────────────┴──────────────────────────────┴──► stop: nothing is left behind

The agents are forks of one process, which imports what they share while the cluster comes up. All processes are bound
to the supervisor: they end when it does, however it ends. While the system is up, an agent that dies is started again
(after a pause that doubles), and what its servers left is ended (`nursery`).
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import psutil

from omx_tasks import settings
from omx_tasks.agents.templates import EVERYTHING
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.ports import free_or_other
from omx_tasks.deploy.forkserver import ForkServer
from omx_tasks.deploy.interrupts import held_back, ignored
from omx_tasks.deploy.nursery import ANSWER, Nursery, is_dead
from omx_tasks.deploy.process import Process, end_all
from omx_tasks.errors import UnavailableError
from omx_tasks.events.bus import Bus
from omx_tasks.home import Home, System
from omx_tasks.mcp import reaper
from omx_tasks.mcp.config import ServerFile
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds in which what is under way may end when a system stops; and where its only run is over anyway.
GRACE, SHORT_GRACE = 15.0, 2.0
#: Seconds between two looks at the processes.
LOOK = 0.2


@dataclass
class LocalSystem:
    """A system in one home. ``say`` is told each step in words; ``grace``: seconds for what is under way at the end.

    Where it ``exports``, its ``metrics`` are at that address: on the port of the settings, or where that is taken on
    a free one.
    It begins with so many ``agents``, and may have the ``most`` when much is to be done (None: always the same number).
    """

    home: Home
    servers: ServerFile
    environ: Mapping[str, str]
    agents: int = 2
    slots: int = 32
    say: Callable[[str], None] = lambda _text: None
    grace: float = GRACE
    exports: bool = False
    most: int | None = None
    url: str = ""
    metrics: str = ""
    _programs: list[Process] = field(default_factory=list)
    _metrics_port: int = 0
    _nursery: Nursery | None = None
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
        forks = ForkServer(self.home.logs / "forkserver.log", self.environ)
        with held_back():
            forks.start()
            cluster = self._cluster()
            try:
                cluster.up(bound=True)
            except BaseException:
                forks.stop()
                raise
            self.url = cluster.url()
            self._nursery = self._make_nursery(forks)
            self._record(ready=False)
        self.say(f"cluster ready: 3 masters, 3 replicas ({time.monotonic() - began:.1f} s)")
        reaper.reap(is_dead)
        _forget_agents(self._nursery.store)
        with held_back():
            self._nursery.start(self.agents)
            self._start_program("coordinator")
            if self.exports:
                self._start_exporter()
        self._nursery.await_warm(self._stopping)
        noun = "agent" if self.agents == 1 else "agents"
        self.say(f"{self.agents} {noun} warm ({time.monotonic() - began:.1f} s)")
        with held_back():
            self._record(ready=True)
            self._keeper = threading.Thread(target=self._keep, name="supervisor", daemon=True)
            self._keeper.start()

    def _make_nursery(self, forks: ForkServer) -> Nursery:
        given = settings.current()
        bus = Bus.configured(given, partial(Store.configured, self.url, given), timeout=0.0)
        return Nursery(
            name="agent",
            forks=forks,
            logs=self.home.logs,
            environ=self._environ(),
            store=Store(self.url, timeout=ANSWER),
            least=self.agents,
            most=self.most or self.agents,
            say=self.say,
            publisher=bus,
            silence=given.agent_silence,
        )

    def _cluster(self) -> EmbeddedCluster:
        return EmbeddedCluster(self.home.cluster, server=settings.current().redis_server)

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
                metrics=self.metrics,
            )
        )

    # --- processes ----------------------------------------------------------------------------------

    def _start_program(self, name: str) -> None:
        command = [sys.executable, "-m", f"workers.{name}"]
        process = Process(name, command, self.home.logs / f"{name}.log")
        process.start(self._environ())
        self._programs.append(process)

    def _start_exporter(self) -> None:
        given = settings.current()
        self._metrics_port = free_or_other(given.metrics_port, given.metrics_host)
        self.metrics = f"http://{given.metrics_host}:{self._metrics_port}/metrics"
        if given.metrics_port not in (0, self._metrics_port):
            self.say(f"port {given.metrics_port} is taken: metrics are at {self.metrics}")
        self._start_program("exporter")

    def _environ(self) -> dict[str, str]:
        ours = {
            "OMX_BROKER_URL": self.url,
            "OMX_RESULT_URL": self.url,
            "OMX_MCP_CONFIG": str(self.servers.path.resolve()),
            "OMX_SLOTS": str(self.slots),
            "OMX_TEMPLATE": EVERYTHING,
            "OMX_LOG_DIR": str(self.home.logs),
            "OMX_METRICS_PORT": str(self._metrics_port),
            "OMX_HEALTH_PORT": "0",  # it is one process's; these have a supervisor
        }
        return {**self.environ, **ours}

    def _keep(self) -> None:
        """Start again what died, until the system stops."""
        assert self._nursery is not None
        while not self._stopping.wait(LOOK):
            self._nursery.look()
            for process in self._programs:
                self._look_at(process)

    def _look_at(self, process: Process) -> None:
        if process.alive:
            return
        if process.next_start is None:
            pause = process.plan_next_start()
            self.say(f"{process.name} {process.reason}; it is started again in {pause:g} s")
        elif process.is_due:
            process.start(self._environ())

    # --- the end ------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Drain the agents, end every process, stop the cluster. Safe to call twice, and not interrupted."""
        with ignored():
            self._stopping.set()
            if self._keeper is not None:
                self._keeper.join(10.0)
            end_all(self._programs, self.grace)
            if self._nursery is not None:
                self._nursery.stop(self.grace)
            if self.url:
                with contextlib.suppress(UnavailableError):
                    self._cluster().down()
                self.home.clear()
            self.home.release()


def _forget_agents(store: Store) -> None:
    """Remove what the agents of an earlier system said of themselves and of their servers."""
    for key in (keys.agents(), keys.nurseries(), keys.wanted(), keys.catalogue()):
        store.command(key, "DEL", key)
