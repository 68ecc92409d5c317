"""What each kind of agents has to do: what waits in the queues that it covers, and what is expected to come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from omx_tasks.agents.scaling.kinds import Kind
from omx_tasks.broker import audit
from omx_tasks.broker.audit import QueueReport
from omx_tasks.broker.routing import PREFIX
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store

#: Seconds between two looks, and looks whose arrivals are kept.
EVERY, LOOKS = 1.0, 60
#: Seconds that an operation is taken to need while nobody knows.
SECONDS = 1.0


class Flow(NamedTuple):
    """What is expected of a capability set: operations a second, and seconds of each; None: not known."""

    arriving: float
    seconds: float | None


#: Says what is to be expected of each capability set so many looks ahead; given is how many arrived a second, look by
#: look, the oldest first.
Expect = Callable[[Store, dict[str, list[float]], int], dict[str, Flow]]


class Load:
    """What one kind of agents has to do, added up over queues. ``waiting`` and ``oldest`` are by priority."""

    def __init__(self) -> None:
        self.waiting, self.oldest = [0.0] * len(Priority), [0.0] * len(Priority)
        self.arriving = 0.0
        self._weights = self._seconds = 0.0

    def add(
        self, report: QueueReport, flow: Flow, part: float, priorities: frozenset[Priority]
    ) -> None:
        """Add a part of what is in a queue at these priorities."""
        stats = report.stats
        for priority in priorities:
            self.waiting[priority] += part * stats.waiting[priority]
            self.oldest[priority] = max(self.oldest[priority], stats.oldest[priority] or 0.0)
        self.arriving += part * flow.arriving
        if flow.seconds is not None:
            weight = part * (sum(stats.waiting) + stats.leased + flow.arriving)
            self._weights += weight
            self._seconds += weight * flow.seconds

    @property
    def seconds(self) -> float:
        """What an operation takes, on average."""
        return max(self._seconds / self._weights, 0.001) if self._weights else SECONDS


class Demand:
    """Looks at the queues again and again; from how many messages each had in all follows what arrives."""

    def __init__(self, expect: Expect) -> None:
        self._expect = expect
        self._published: dict[str, tuple[float, int]] = {}
        self._rates: dict[str, deque[float]] = {}

    def look(self, store: Store, kinds: Sequence[Kind], ahead: int) -> dict[str, Load]:
        """Return the load of each kind, by its name; of a queue that several cover, each has a part."""
        names = [name for name in audit.names(store) if name.startswith(PREFIX)]
        queues = {one.name.removeprefix(PREFIX): one for one in audit.reports(store, names)}
        self._note(queues)
        recent = {name: list(rates) for name, rates in self._rates.items()}
        flows = self._expect(store, recent, ahead)
        loads = {kind.name: Load() for kind in kinds}
        for name, report in queues.items():
            able = [kind for kind in kinds if kind.covers(name)]
            everything = sum(map(_reach, able))
            for kind in able:
                part = _reach(kind) / everything
                loads[kind.name].add(report, flows[name], part, frozenset(kind.priorities))
        return loads

    def _note(self, queues: Mapping[str, QueueReport]) -> None:
        for name, report in queues.items():
            at, count = report.stats.time, report.stats.counters.get("published", 0)
            before, known = self._published.get(name, (at - EVERY, count))
            rate = max(0, count - known) / max(at - before, 0.1 * EVERY)
            self._rates.setdefault(name, deque(maxlen=LOOKS)).append(rate)
            self._published[name] = (at, count)
        for name in self._published.keys() - queues.keys():
            del self._published[name], self._rates[name]


def _reach(kind: Kind) -> int:
    """Return the slots that a kind may have at most."""
    return max(1, (sum(one.max for one in kind.nurseries) + kind.outside) * kind.slots)
