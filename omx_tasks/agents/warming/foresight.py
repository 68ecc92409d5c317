"""What an agent finds out before it opens or closes servers: all of it with a few requests, once a look.

Who else holds a server open, or will; what runs that it has taken on need, and when; how long operations wait in the
queues that it leaves to others; how long servers take to open; and what is expected.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omx_tasks.broker import partitions, queues
from omx_tasks.broker.queues import Stats
from omx_tasks.broker.routing import PREFIX, set_name, words_of
from omx_tasks.graph.ahead import Ahead
from omx_tasks.graph.operation import SERVER
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import durations, needs
from omx_tasks.results.durations import Opening
from omx_tasks.results.needs import Held
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.link import ReplyError

#: Seconds for which a place is held.
LEASE = 5.0
#: Entries of a run's stream that one look reads.
PAGE = 1000
#: Seconds between two readings of what changes slowly.
SLOW = 10.0


@dataclass(frozen=True)
class Seen:
    """What one look found: places by key; of each run the servers still needed and when (Unix seconds), None where it
    is over, nothing where it is not stored yet; and for how many seconds an operation of a server is going to wait.
    """

    held: Mapping[str, Held]
    ahead: Mapping[str, Mapping[str, float] | None]
    waits: Mapping[str, float]


@dataclass
class _Followed:
    """A run, and up to where its stream was read."""

    ahead: Ahead
    last: str = "0"


@dataclass
class _Flow:
    """How a queue was when it was looked at last: acks so far, by when."""

    acked: int
    at: float


@dataclass
class Foresight:
    """Asks the store; every method waits for it, and none is called twice at once."""

    store: Store
    agent: str
    #: What it takes to open each server, as agents measured it.
    cold: dict[str, Opening] = field(default_factory=dict)
    #: Operations of each server that are expected in the next minute.
    expected: dict[str, float] = field(default_factory=dict)
    _sets: list[str] = field(default_factory=list)
    _runs: dict[str, _Followed] = field(default_factory=dict)
    _flows: dict[str, _Flow] = field(default_factory=dict)
    _slow_at: float = -SLOW

    def needs(self) -> list[needs.Needs]:
        """Return what the runs need that were submitted already."""
        return needs.read(self.store)

    def look(self, places: Mapping[str, int], runs: Collection[str], left: Iterable[str]) -> Seen:
        """Hold these places, follow these runs, and see how operations of servers wait that are ``left`` to others."""
        self._read_slow()
        answer = self.store.run(needs.hold(self.agent, LEASE, places)) if places else ()
        held = dict(zip(places, needs.held(answer), strict=True))
        return Seen(held, self._follow(runs), self._waits(left))

    def give_back(self, places: Iterable[str]) -> None:
        """Give places back: this agent ends."""
        if given := dict.fromkeys(places, 0):
            self.store.run(needs.hold(self.agent, LEASE, given))

    def _read_slow(self) -> None:
        now = time.monotonic()
        if now - self._slow_at < SLOW:
            return
        cold, expected, sets = self.store.commands(
            [
                (keys.opening_durations(), ("HGETALL", keys.opening_durations())),
                (keys.expected(), ("GET", keys.expected())),
                (keys.capability_sets(), ("SMEMBERS", keys.capability_sets())),
            ]
        )
        self.cold = durations.openings(cold)
        self.expected = json.loads(expected) if expected else {}
        self._sets = [name.decode() for name in sets]
        self._keep_longer()
        self._slow_at = now

    # --- runs ---------------------------------------------------------------------------------------

    def _keep_longer(self) -> None:
        if self._runs:
            self.store.commands([needs.longer(run_id) for run_id in self._runs])

    def _follow(self, runs: Collection[str]) -> dict[str, Mapping[str, float] | None]:
        for run_id in runs - self._runs.keys():
            if (ahead := self._ahead(run_id)) is not None:
                self._runs[run_id] = _Followed(ahead)
        known = [run_id for run_id in runs if run_id in self._runs]
        self._read_on(known)
        now = time.time()
        found: dict[str, Mapping[str, float] | None] = {}
        for run_id in known:
            ahead = self._runs[run_id].ahead
            found[run_id] = None if ahead.over else ahead.servers(now)
        over = [run_id for run_id in known if found[run_id] is None]
        for run_id in over:
            del self._runs[run_id]
        needs.forget(self.store, over)
        return found

    def _ahead(self, run_id: str) -> Ahead | None:
        plan, successors = keys.plan(run_id), keys.successors(run_id)
        document, links = self.store.commands(
            [(plan, ("GET", plan)), (successors, ("HGETALL", successors))]
        )
        if document is None:
            return None
        following = {name.decode(): json.loads(text) for name, text in links.items()}
        return Ahead(StoredPlan.parse(document), following)

    def _read_on(self, runs: Sequence[str]) -> None:
        """Read what happened in runs since the last look."""
        streams = [(keys.stream(run_id), self._runs[run_id]) for run_id in runs]
        pages = self.store.commands(
            [
                (stream, ("XRANGE", stream, f"({one.last}", "+", "COUNT", PAGE))
                for stream, one in streams
            ]
        )
        for (_, one), page in zip(streams, pages, strict=True):
            for entry, fields in page:
                at = int(entry.partition(b"-")[0]) / 1000
                words = [word.decode() for word in fields[1::2]]
                for operation, state in zip(words[0::3], words[1::3], strict=True):
                    one.ahead.note(operation, state, at)
            if page:
                one.last = page[-1][0].decode()

    # --- queues -------------------------------------------------------------------------------------

    def _waits(self, servers: Iterable[str]) -> dict[str, float]:
        return {
            server: max(map(self._wait, self._queues(server)), default=0.0) for server in servers
        }

    def _queues(self, server: str) -> list[str]:
        word = SERVER + server
        own = set_name([word])
        return [
            PREFIX + name for name in {own, *(one for one in self._sets if word in words_of(one))}
        ]

    def _wait(self, queue: str) -> float:
        """Return the seconds that what waits in a queue has waited for, and those until it is taken at this pace."""
        stats = self._stats(queue)
        if not sum(stats.waiting):
            self._flows.pop(queue, None)
            return 0.0
        now, acked = time.monotonic(), stats.counters.get("acked", 0)
        before = self._flows.get(queue)
        rate = (acked - before.acked) / (now - before.at) if before else 0.0
        self._flows[queue] = _Flow(acked, now)
        oldest = max(age for age in stats.oldest if age is not None)
        # Where nothing was seen to be taken, as long again as it took so far.
        return oldest + (sum(stats.waiting) / rate if rate > 0 else oldest)

    def _stats(self, queue: str) -> Stats:
        first = self.store.run(queues.stats(queue))
        parts = [queues.read_stats(first)]
        others: list[Any] = list(partitions.partitions(queue, parts[0].partitions)[1:])
        answers = self.store.run_many([queues.stats(one) for one in others])
        parts += [queues.read_stats(one) for one in answers if not isinstance(one, ReplyError)]
        return Stats.sum(parts)
