"""Keeps a number of agents of one kind up on this machine: forks of one fork server.

::

               ┌───────────── died: the pause doubles ─────────────┐
               ▼                                                   │
    wanted ─► fork ─► running ──┬── died ──► waiting, its servers are reaped
                                ├── hung (see `watch`) ──► SIGKILL: died
                                ├── retires (see `tenure`) ────────────┐   another one is
                                ├── unfit (see `quarantine`): SIGTERM ─┤   started at once
                                │                                      ▼
                                └── one too many, and the least busy ─► draining (SIGTERM) ─► gone

How many are wanted is read from the store once a second (`agents.scaling.nurseries`), within ``least`` and ``most``;
what is up is told there, with what an agent offers, what it uses and how long it takes to be warm: by that it is
scaled. A death is told as the event ``agent.died``; the third one soon after a start, as ``agent.crashing`` too: the
agent is started again all the same, after at most half a minute; within seconds where no other one is up, so that what
ends one agent after the other does not hold up all that waits.
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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from omx_tasks import settings
from omx_tasks.agents import profile
from omx_tasks.agents.profile import Profile
from omx_tasks.agents.registry import agents as registered
from omx_tasks.agents.scaling.nurseries import NurseryRecord, beat, leave
from omx_tasks.agents.telling import Publisher
from omx_tasks.deploy import footprint
from omx_tasks.deploy.forkserver import ForkServer
from omx_tasks.deploy.process import Process, end_all
from omx_tasks.deploy.quarantine import PAUSE, unfit
from omx_tasks.deploy.watch import Watch
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
#: Seconds after which one of them is started again where all are down.
ALONE = 5.0

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
    #: Seconds after which an agent is hung whose loop stands still; 0: never.
    silence: float = 15.0
    _agents: dict[int, Process] = field(default_factory=dict)
    _draining: list[Process] = field(default_factory=list)
    _busy: dict[str, int] | None = None
    _warm: set[int] = field(default_factory=set)
    _cold: float = 0.0
    _memory: int = 0
    _measured: float = -math.inf
    _replaced: Counter[str] = field(default_factory=Counter)
    _retiring: dict[int, str] = field(default_factory=dict)
    _unfit: dict[int, str] = field(default_factory=dict)
    _quarantined: float = -math.inf
    _stopping: threading.Event = field(default_factory=threading.Event)
    _beating: threading.Thread | None = None

    def __post_init__(self) -> None:
        self._watch = Watch(self.logs, self.silence)

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
        servers = config.load(config.find(given.mcp_config, Path.cwd()))
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
        self._end_hung()
        self._replace()
        died = [one for one in self.processes if not one.alive and one.next_start is None]
        if died:
            reaper.reap({self.node(process) for process in died}.__contains__)
        self._forget(process for process in self._draining if not process.alive)
        for process in list(self._agents.values()):
            if process in died:
                self._died(process)
            elif process.is_due:
                self._start_again(process)
        if self._agents and not any(process.alive for process in self._agents.values()):
            min(self._agents.values(), key=lambda one: one.next_start or 0.0).start_within(ALONE)
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
        self._forget(processes)
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
        self._watch.expect(process.name)
        try:
            process.start({**self.environ, "OMX_PULSES": str(self.logs)})
        except ClusterError as error:  # it counts as one more death at the next look
            self.say(str(error))

    def _free(self) -> Iterator[int]:
        """Yield numbers that no agent has, nor one that drains."""
        taken = {process.name for process in self.processes}
        return (n for n in itertools.count(1) if f"{self.name}{n}" not in taken)

    def _died(self, process: Process) -> None:
        if process.ended_well:
            self._replaced["recycled"] += 1
            process.start_again_soon()
            self.say(f"{process.name} ended in good order; it is started again")
            return
        pause = process.plan_next_start()
        self.say(f"{process.name} {process.reason}; it is started again in {pause:g} s")
        self._tell("agent.died", process, deaths=process.deaths)
        if process.deaths == MANY:
            self.say(f"{process.name} is in a crash loop: it died {MANY} times soon after a start")
            self._tell("agent.crashing", process, deaths=process.deaths)

    def _end_hung(self) -> None:
        alive = {one.name: one.launched.pid for one in self.processes if one.launched and one.alive}
        hung = self._watch.look(alive)
        for process in self.processes:
            if process.name in hung:
                process.doom = f"was hung for {hung[process.name]:.0f} s and was ended"
                self._replaced["hung"] += 1
                _signal(process, signal.SIGKILL)

    def _replace(self) -> None:
        """Drain those that retire, and one that does worse than others; others take their places."""
        retiring, self._retiring = self._retiring, {}
        worse, self._unfit = self._unfit, {}
        for number, process in list(self._agents.items()):
            pid = process.launched.pid if process.launched and process.alive else 0
            if pid in retiring:
                self._replaced["recycled"] += 1
                self._drain(number, retiring[pid])
            elif pid in worse and time.monotonic() - self._quarantined > PAUSE:
                self._quarantined = time.monotonic()
                self._replaced["quarantined"] += 1
                self._drain(number, worse[pid])
                self._tell("agent.quarantined", process)

    def _drain(self, number: int, reason: str = "") -> None:
        process = self._agents.pop(number)
        if process.launched is None or not process.alive:
            self._watch.forget(process.name)
            return
        if reason:
            process.reason = reason
            self.say(f"{process.name} {reason}; another one takes its place")
        self._draining.append(process)
        _signal(process, signal.SIGTERM)

    def _forget(self, gone: Iterable[Process]) -> None:
        """Keep nothing of those that do not come back."""
        for process in list(gone):
            self._watch.forget(process.name)
            if process in self._draining:
                self._draining.remove(process)

    def _tell(self, what: str, process: Process, **more: Any) -> None:
        if self.publisher is None:
            return
        node = self.node(process)
        data = {"agent": node, "reason": process.reason, **more}
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
            self._drain(number)

    # --- its own thread -----------------------------------------------------------------------------

    def _beat(self) -> None:
        heard = True
        while True:
            try:
                self._measure()
                asked = beat(self.store, self.record())
                if asked is not None:
                    self._want(self._within(asked))
                self._hear()
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

    def _hear(self) -> None:
        """Learn from what agents say of themselves which are to be replaced."""
        records = registered(self.store)
        mine = {self.node(process) for process in list(self._agents.values())}
        pids = {record.name: record.pid for record in records if record.name in mine}
        self._unfit = {pids[name]: reason for name, reason in unfit(records, mine).items()}
        self._retiring = {
            record.pid: record.retiring
            for record in records
            if record.name in mine and record.retiring
        }

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
            **self._replaced,
        )


def is_dead(agent: str) -> bool:
    """Whether this is the name of an agent of a nursery on this machine that is gone."""
    _, _, host = agent.partition("@")
    name, _, pid = host.rpartition("-")
    return name == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))


def _place() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def _state(process: Process) -> str:
    if process.alive:
        return "running"
    return "crash loop" if process.deaths >= MANY else "waiting"


def _signal(process: Process, number: signal.Signals) -> None:
    if process.launched is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.launched.pid, number)


def _told(process: Process, state: str = "") -> dict[str, Any]:
    launched = process.launched
    return {
        "pid": launched.pid if launched is not None and process.alive else None,
        "state": state or _state(process),
        "deaths": process.deaths,
        "reason": process.reason,
    }


def _heard(store: Store) -> set[str]:
    answer = store.command(keys.agents(), "HKEYS", keys.agents())
    return {name.decode() for name in answer}
