"""Opens servers before they are needed, and closes those that are not: an agent's, by its `policy`.

::

    run submitted ──told──► its place taken? ──no──► left to the agents that took it
                                   │ yes                     (asked again: they may die)
                                   ▼
              its progress is followed ──► opened at: earliest start - time to open - margin ──► kept until the run
                                                                                                needs it no more

Once a second, and at once when a run is submitted, an agent looks (see `foresight`) and acts:

- As many agents as a run's widest moment has use for see to each of its servers; those on which it is warm go first.
- What is expected of single calls (a forecast that a coordinator makes) is seen to by as many as that takes. Without
  a coordinator a server stays open for a while after its last call, and that is all.
- The queues of a server are for the agents on which it is warm. While there is none, they are for one that has taken
  it on, and where nobody has, for everybody: who is called opens it. An agent to which they are left gets warm all the
  same when operations are going to wait there for longer than it takes to open the server here.
- What nobody needs is closed when it has rested for long; and where memory is short, what is worth least.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from omx_tasks.agents.capabilities import Capabilities
from omx_tasks.agents.warming.foresight import Foresight, Seen
from omx_tasks.agents.warming.policy import Policy
from omx_tasks.agents.warming.warmth import State, Warmth
from omx_tasks.agents.warming.worth import Candidate, to_close
from omx_tasks.agents.wire import Wire
from omx_tasks.errors import OmxError, OperationError
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.mcp.session import Session
from omx_tasks.results import needs
from omx_tasks.results.durations import Opening
from omx_tasks.results.needs import Held, Needs
from omx_tasks.store import keys

#: Seconds between two looks; while something is to be opened soon; and between two tries to take what others took.
EVERY, CLOSELY, AGAIN = 1.0, 0.25, 3.0
#: How much earlier a server is opened than it takes on average: so many times that at the least, or as far off as
#: openings are, so many times (a host that has much to do opens servers slowly); and seconds.
TIMES, OFF, MARGIN = 1.5, 4.0, 0.5
#: What opening a server is taken for of which nothing is known.
UNKNOWN = Opening(5.0)
#: Seconds for which those go first on which a server is warm, and for which one stays after a call.
GIVE_WAY, LINGER = 0.1, 1.0
#: Operations that are expected in a minute from which on one is more likely to come than not.
LIKELY = 0.5
#: Seconds after which a run is forgotten that was announced and never stored.
STILLBORN = 30.0
NOT_HELD = Held(own=False, others=0)
#: Of any number of agents.
ANY = 1_000_000
#: Stands for what is expected where a run's id would stand.
EXPECTED = ""

logger = logging.getLogger(__name__)


@dataclass
class _Task:
    """That a server be warm for a run: how many agents are to see to it, and by when (Unix seconds, once known)."""

    wanted: int
    heard: float
    due: float | None = None
    asked: float = 0.0
    held: Held = NOT_HELD


class Warmer:
    """Lives on the agent's loop. ``changed`` is called when other queues are to be consumed than before."""

    def __init__(
        self,
        slots: int,
        policy: Policy,
        sessions: SessionPool,
        capabilities: Capabilities,
        foresight: Foresight,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = slots
        self._policy = policy
        self._sessions = sessions
        self._capabilities = capabilities
        self._foresight = foresight
        self._changed = changed
        self._clock = clock
        self._servers = {name: Warmth(name) for name in sessions.circuits()}
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._answering: dict[str, Held] = {}
        self._given_up: set[str] = set()
        self._news = asyncio.Event()
        #: Whether a run may have been submitted that was not heard of.
        self._behind = True
        self._watch: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Warmer {list(self._servers.values())} tasks={len(self._tasks)}>"

    async def start(self, wire: Wire) -> None:
        """Open what is always to be open; see to the rest from now on."""
        await self._sessions.warm(self._policy.always)
        if self._policy.everything:
            return
        if self._policy.planned:
            wire.listen(
                keys.needed(), lambda payload: self._hear(needs.heard(payload)), self._fall_behind
            )
        self._watch = asyncio.get_running_loop().create_task(self._run(), name="warmer")

    async def close(self) -> None:
        """See to nothing any more; others take over what was taken on."""
        if self._watch is None:
            return
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)
        places = [*map(_place, self._tasks), *map(keys.answering, self._servers)]
        try:
            await asyncio.to_thread(self._foresight.give_back, places)
        except OmxError as error:
            logger.info("what this agent was to keep warm lapses: %s", error)

    # --- what it is told ----------------------------------------------------------------------------

    def called(self, server: str) -> None:
        """A call of a server is about to be made."""
        warmth = self._servers.get(server)
        if warmth is not None:
            warmth.call(self._clock(), cold=self._sessions.live(server) is None)

    def told(self, server: str, outcome: Session | OperationError) -> None:
        """A session was opened, or could not be: from now on its keeper sees to it."""
        now, warmth = self._clock(), self._servers[server]
        if isinstance(outcome, OperationError):
            warmth.fail(now)
        else:
            warmth.open(now)
        if self._watch is not None:
            self._sessions.keep(server)
            self._news.set()

    def _hear(self, told: Needs) -> None:
        """A run was submitted, or is still there."""
        now = self._clock()
        for server in told.servers.keys() & self._servers.keys():
            wanted = math.ceil(told.servers[server].width / self.slots)
            self._tasks.setdefault((told.run, server), _Task(wanted, now))
        self._news.set()

    def as_json(self) -> dict[str, Any]:
        """Return what the agent's record says (from any thread)."""
        every, now = list(self._servers.values()), self._clock()
        return {
            "cold": sorted(one.server for one in every if one.is_cold),
            "cold_starts": sum(one.cold_starts for one in every),
            "opened": sum(one.opened for one in every),
            "evicted": sum(one.evicted for one in every),
            "wasted": round(sum(one.wasted(now) for one in every), 1),
        }

    # --- looking ------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._catch_up()
                await self._look()
            except OmxError as error:
                logger.warning("what is needed cannot be looked at: %s", error)
            try:
                async with asyncio.timeout(self._pause()):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _fall_behind(self) -> None:
        self._behind = True
        self._news.set()

    async def _catch_up(self) -> None:
        """Take note of what runs need that were submitted while nothing was heard."""
        if not (self._behind and self._policy.planned):
            return
        self._behind = False
        try:
            every = await asyncio.to_thread(self._foresight.needs)
        except OmxError:
            self._behind = True
            raise
        for told in every:
            self._hear(told)

    async def _look(self) -> None:
        places = dict(self._places())
        runs = {run for (run, _), task in self._tasks.items() if run and task.held.own}
        left = self._capabilities.left
        seen = await asyncio.to_thread(self._foresight.look, places, runs, left)
        self._take_note(seen)
        self._expect()
        for server in self._due() | {one for one in left if self._is_pressed(one, seen)}:
            self._warm(server)
        for server in self._unneeded():
            self._evict(server)
        self._leave()

    def _pause(self) -> float:
        """Return the seconds until the next look: sooner where something is to be opened, or was just heard of."""
        now, soonest = time.time(), EVERY
        for (_, server), task in self._tasks.items():
            if not self._servers[server].is_cold:
                continue
            if task.held.own and task.due is not None:
                soonest = min(soonest, CLOSELY, max(0.0, task.due - self._lead(server) - now))
            elif not task.asked:
                soonest = min(soonest, GIVE_WAY)
        return soonest

    def _places(self) -> Iterator[tuple[str, int]]:
        """Yield the places to hold, or to look at."""
        now = self._clock()
        yield from ((place, 0) for place in self._given_up)
        self._given_up.clear()
        for (run, server), task in self._tasks.items():
            gives_way = self._servers[server].is_cold and now - task.heard < GIVE_WAY
            if task.held.own or not (gives_way or (task.asked and now - task.asked < AGAIN)):
                task.asked = now
                yield _place((run, server)), task.wanted
        for server in self._servers:
            yield keys.answering(server), self._answers(server)

    def _take_note(self, seen: Seen) -> None:
        for (run, server), task in list(self._tasks.items()):
            place = seen.held.get(_place((run, server)))
            if place is not None:
                if place.own != task.held.own:
                    self._news.set()  # whether it is answered for is told with the next look
                task.held = place
            if run in seen.ahead:
                ahead = seen.ahead[run]
                task.due = None if ahead is None else ahead.get(server)
                if task.due is None:
                    self._give_up(run, server)
            elif run and task.held.own and self._clock() - task.heard > STILLBORN:
                self._give_up(run, server)
        for server in self._servers:
            self._answering[server] = seen.held[keys.answering(server)]

    def _expect(self) -> None:
        """Take on what is expected of single calls, as long as it is."""
        if not self._policy.planned:
            return
        for server in self._servers:
            expected = self._foresight.expected.get(server, 0.0)
            if expected < LIKELY:
                self._give_up(EXPECTED, server)
                continue
            wanted = math.ceil(expected / 60 / self.slots)
            task = self._tasks.setdefault((EXPECTED, server), _Task(wanted, self._clock()))
            task.wanted, task.due = wanted, 0.0

    def _give_up(self, run: str, server: str) -> None:
        """See no more to it that a server is warm for a run."""
        if self._tasks.pop((run, server), None) is not None:
            self._given_up.add(_place((run, server)))

    # --- deciding -----------------------------------------------------------------------------------

    def _lead(self, server: str) -> float:
        """Return how many seconds before it is needed a server is opened."""
        seconds, off = self._opening(server)
        return max(TIMES * seconds, seconds + OFF * off) + MARGIN

    def _cold_seconds(self, server: str) -> float:
        return self._opening(server).seconds

    def _opening(self, server: str) -> Opening:
        return self._foresight.cold.get(server, UNKNOWN)

    def _taken_on(self) -> frozenset[str]:
        return frozenset(server for (_, server), task in self._tasks.items() if task.held.own)

    def _answers(self, server: str) -> int:
        """Return with how many others at most this agent may be one to which a server's operations are left."""
        state = self._servers[server].state
        if state is State.WARM:
            return ANY
        return int(state is State.WARMING or server in self._taken_on())

    def _due(self) -> set[str]:
        """Return the cold servers that are to be opened now."""
        now = time.time()
        return {
            server
            for (_, server), task in self._tasks.items()
            if self._servers[server].is_cold
            and task.held.own
            and task.due is not None
            and task.due - self._lead(server) <= now
        }

    def _is_pressed(self, server: str, seen: Seen) -> bool:
        """Whether operations wait elsewhere for longer than it takes to open their server here."""
        return seen.waits.get(server, 0.0) > self._cold_seconds(server)

    def _unneeded(self) -> list[str]:
        """Return the warm servers that are to be closed."""
        now, about = self._clock(), {one["server"]: one for one in self._open()}
        free = [one for one in self._servers.values() if self._is_free(one, about, now)]
        rested = [one.server for one in free if now - one.used_at >= self._policy.idle]
        return rested + self._over_budget([one for one in free if one.server not in rested], about)

    def _over_budget(self, free: list[Warmth], about: Mapping[str, Any]) -> list[str]:
        if self._policy.memory is None:
            return []
        used = psutil.Process(os.getpid()).memory_info().rss
        excess = used + sum(one["rss"] for one in about.values()) - self._policy.memory
        now = self._clock()
        candidates = [
            Candidate(
                one.server,
                one.frequency.at(now),
                self._cold_seconds(one.server),
                about[one.server]["rss"],
            )
            for one in free
        ]
        return to_close(candidates, excess)

    def _open(self) -> Iterator[dict[str, Any]]:
        """Yield how the sessions are that calls go to."""
        return (one for one in self._sessions.sessions() if one["state"] in ("idle", "busy"))

    def _is_free(self, one: Warmth, about: Collection[str], now: float) -> bool:
        """Whether a server is warm and nobody needs it: no run, no forecast, no call, nor whoever set up the agent."""
        return (
            one.state is State.WARM
            and one.server in about
            and one.server not in self._policy.always
            and one.server not in self._taken_on()
            and now - one.used_at >= LINGER
            and not self._sessions.busy(one.server)
        )

    # --- acting -------------------------------------------------------------------------------------

    def _warm(self, server: str) -> None:
        self._servers[server].begin()
        self._sessions.keep(server)
        self._news.set()

    def _evict(self, server: str) -> None:
        logger.info("server %r is closed until it is needed", server)
        self._servers[server].evict(self._clock())
        self._sessions.rest(server)
        self._news.set()

    def _leave(self) -> None:
        """Leave the queues of servers to those that answer for them."""
        left = frozenset(
            server for server, held in self._answering.items() if held.others and not held.own
        )
        if left != self._capabilities.left:
            self._capabilities.left = left
            self._changed()


def _place(task: tuple[str, str]) -> str:
    run, server = task
    return keys.warmers(server, run)
