"""Keeps a number of agents of one kind up on this machine: forks of one fork server.

::

               ┌───────────── died: the pause doubles ─────────────┐
               ▼                                                   │
    wanted ─► fork ─► running ──┬── died ─► waiting, its servers are reaped
                                └── one too many, and the least busy ─► draining (SIGTERM) ─► gone

How many are wanted is read from the store once a second (`agents.nurseries`), within ``least`` and ``most``; what is up
is told there, with what an agent offers, what it uses and how long it takes to be warm: by that it is scaled. A death
is told as the event ``agent.died``; the third one soon after a start, as ``agent.crashing`` too: the agent is started
again all the same, after at most half a minute.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from omx_tasks import settings
from omx_tasks.agents import profile
from omx_tasks.agents.nurseries import NurseryRecord, beat, leave
from omx_tasks.agents.profile import Profile
from omx_tasks.agents.registry import agents as registered
from omx_tasks.agents.telling import Publisher
from omx_tasks.deploy import footprint
from omx_tasks.deploy.forkserver import ForkServer
from omx_tasks.deploy.process import Process, end_all
from omx_tasks.errors import ClusterError, OmxError, UnavailableError
from omx_tasks.mcp import config, reaper
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds between two beats, and for one to be answered.
EVERY, ANSWER = 1.0, 5.0
#: Seconds in which all agents must be warm, and between two looks whether they are.
WARM, POLL = 90.0, 0.02
#: Deaths soon after a start from which on it is a crash loop.
MANY = 3
#: Seconds that the last events may take.
LAST = 2.0
#: Seconds after which an agent goes that is one too many, and between two looks at what agents use.
IDLE, MEASURE = 60.0, 15.0

logger = logging.getLogger(__name__)


class Stopping(Protocol):
    """Whether it is to stop."""

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds; True when it is to stop."""


@dataclass
class Nursery:
    """Agents named ``name`` and a number; ``environ`` is theirs. ``say`` is told what happens in words.

    ``store`` is its own, and closed at its end.
    """

    name: str
    forks: ForkServer
    logs: Path
    environ: Mapping[str, str]
    store: Store
    least: int
    most: int
    idle: float = IDLE
    say: Callable[[str], None] = lambda _text: None
    publisher: Publisher | None = None
    wanted: int = 0
    offers: Profile | None = None
    _agents: dict[int, Process] = field(default_factory=dict)
    _draining: list[Process] = field(default_factory=list)
    _busy: dict[str, int] | None = None
    _warm: set[int] = field(default_factory=set)
    _cold: float = 0.0
    _memory: int = 0
    _measured: float = -math.inf
    _stopping: threading.Event = field(default_factory=threading.Event)
    _beating: threading.Thread | None = None

    @property
    def id(self) -> str:
        """Its name among all nurseries."""
        return f"{self.name}@{_place()}"

    def node(self, process: Process) -> str:
        """Return an agent's node name, unique on this machine: two nurseries may have an ``agent1`` each."""
        return f"{process.name}@{_place()}"

    @property
    def processes(self) -> list[Process]:
        """All agents, those that drain too."""
        return [*self._agents.values(), *self._draining]

    def start(self, count: int) -> None:
        """Start so many agents; they are not warm yet. Raises `ConfigurationError` where they could never be."""
        given = settings.load(self.environ)
        servers, _ = config.read(config.find(given.mcp_config, Path.cwd()))
        self.offers = profile.of_settings(given, servers)
        self.wanted = self._within(count)
        self._start_missing()
        self._beating = threading.Thread(target=self._beat, name="nursery", daemon=True)
        self._beating.start()

    def await_warm(self, stopping: Stopping) -> None:
        """Wait for the first heartbeat of every agent."""
        deadline = time.monotonic() + WARM
        wanted = {self.node(process) for process in self._agents.values()}
        while not wanted <= _heard(self.store):
            for process in self._agents.values():
                if not process.alive:
                    said = process.tail()
                    raise UnavailableError(f"{process.name} ended while it started:\n{said}")
            if time.monotonic() > deadline:
                raise UnavailableError(f"the agents were not warm in {WARM:.0f} s; see {self.logs}")
            if stopping.wait(POLL):
                raise UnavailableError("stopped before the agents were warm")

    def look(self) -> None:
        """Start again what died, start what is missing, drain what is too much, forget what has drained."""
        died = [one for one in self.processes if not one.alive and one.next_start is None]
        if died:
            reaper.reap({self.node(process) for process in died}.__contains__)
        self._draining = [process for process in self._draining if process.alive]
        for process in self._agents.values():
            if process in died:
                self._died(process)
            elif process.is_due:
                self._start_again(process)
        self._start_missing()
        self._drain_surplus()

    def stop(self, grace: float, hurried: threading.Event | None = None) -> None:
        """Drain all agents, end what is left after ``grace`` seconds, and reap what they left. Safe to call twice."""
        self._stopping.set()
        processes = self.processes
        end_all(processes, grace, hurried)
        if processes:
            reaper.reap({self.node(process) for process in processes}.__contains__)
        if self._beating is not None:
            self._beating.join(2 * ANSWER)
        if self.publisher is not None:
            self.publisher.flush(LAST)
        self.forks.stop()
        self.store.close()

    # --- agents -------------------------------------------------------------------------------------

    def _start_missing(self) -> None:
        for number in itertools.islice(self._free(), max(0, self.wanted - len(self._agents))):
            process = Process(
                name := f"{self.name}{number}",
                [f"{name}@{_place()}"],
                self.logs / f"{name}.log",
                self.forks.launch,
            )
            self._agents[number] = process
            self._start_again(process)

    def _start_again(self, process: Process) -> None:
        try:
            process.start(self.environ)
        except ClusterError as error:  # it counts as one more death at the next look
            self.say(str(error))

    def _free(self) -> Iterator[int]:
        """Yield numbers that no agent has, nor one that drains."""
        taken = {process.name for process in self.processes}
        return (n for n in itertools.count(1) if f"{self.name}{n}" not in taken)

    def _died(self, process: Process) -> None:
        pause = process.plan_next_start()
        self.say(f"{process.name} {process.reason}; it is started again in {pause:g} s")
        self._tell("agent.died", process)
        if process.deaths == MANY:
            self._tell("agent.crashing", process)

    def _tell(self, what: str, process: Process) -> None:
        if self.publisher is None:
            return
        node = self.node(process)
        data = {"agent": node, "reason": process.reason, "deaths": process.deaths}
        try:
            self.publisher.publish_many([(what, data, None, node)])
        except OmxError as error:
            logger.warning("it could not be told that %s %s: %s", node, process.reason, error)

    def _drain_surplus(self) -> None:
        """Drain the least busy, once it is known which these are."""
        surplus, busy = len(self._agents) - self.wanted, self._busy
        if surplus <= 0 or busy is None:
            return
        self._busy = None

        def work(number: int) -> tuple[bool, int, int]:
            process = self._agents[number]
            return process.alive, busy.get(self.node(process), 0), -number

        for number in sorted(self._agents, key=work)[:surplus]:
            process = self._agents.pop(number)
            if process.launched is not None and process.alive:
                self._draining.append(process)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.launched.pid, signal.SIGTERM)

    # --- its own thread -----------------------------------------------------------------------------

    def _beat(self) -> None:
        heard = True
        while True:
            try:
                self._measure()
                asked = beat(self.store, self.record())
                if asked is not None:
                    self._want(self._within(asked))
                heard = True
            except OmxError as error:
                if heard:
                    logger.warning("the nursery's beat was not answered: %s", error)
                heard = False
            if self._stopping.wait(EVERY):
                break
        with contextlib.suppress(OmxError):
            leave(self.store, self.id)

    def _measure(self) -> None:
        """Learn how long agents take to be warm, and what they use."""
        pids = {one.launched.pid: one for one in self.processes if one.launched and one.alive}
        if pids.keys() - self._warm:
            heard = {
                record.pid for record in registered(self.store) if record.name.endswith(_place())
            }
            for pid in (pids.keys() - self._warm) & heard:
                seconds = time.monotonic() - pids[pid].started
                self._cold = (self._cold + seconds) / 2 if self._cold else seconds
                self._measured = -math.inf
            self._warm = pids.keys() & (self._warm | heard)
        if self._warm and time.monotonic() - self._measured > MEASURE:
            self._memory = footprint.used(self._warm) // len(self._warm)
            self._measured = time.monotonic()

    def _want(self, wanted: int) -> None:
        if wanted < len(self._agents):
            self._busy = {record.name: record.busy for record in registered(self.store)}
        self.wanted = wanted

    def _within(self, count: int) -> int:
        return min(max(count, self.least), self.most)

    def record(self) -> NurseryRecord:
        """Return what is told of it. Only when it was started."""
        assert self.offers is not None
        agents = dict(self._agents)
        told = {self.node(process): _told(process) for process in agents.values()}
        told |= {self.node(process): _told(process, "draining") for process in list(self._draining)}
        return NurseryRecord(
            name=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            template=self.offers.template,
            min=self.least,
            max=self.most,
            wanted=self.wanted,
            running=sum(process.alive for process in agents.values()),
            agents=told,
            servers=sorted(self.offers.servers),
            capabilities=list(self.offers.said),
            priorities=[priority.name for priority in self.offers.priorities],
            slots=self.offers.slots,
            idle=self.idle,
            cold=round(self._cold, 2),
            memory=self._memory,
            free=footprint.free(),
        )


def is_dead(agent: str) -> bool:
    """Whether this is the name of an agent of a nursery on this machine that is gone."""
    _, _, host = agent.partition("@")
    name, _, pid = host.rpartition("-")
    return name == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))


def _place() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def _told(process: Process, state: str = "") -> dict[str, Any]:
    launched = process.launched
    return {
        "pid": launched.pid if launched is not None and process.alive else None,
        "state": state or ("running" if process.alive else "waiting"),
        "deaths": process.deaths,
        "reason": process.reason,
    }


def _heard(store: Store) -> set[str]:
    answer = store.command(keys.agents(), "HKEYS", keys.agents())
    return {name.decode() for name in answer}
