"""How a run went, against what was possible: the ideal schedule on its slots, and the bound that nothing can beat.

The ideal schedule runs the same calls, each as long as it took, on the same slots: the longest remaining path
first, and nothing but the calls takes time (see ``graph.schedule``). What a run took beyond that is the system's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from omx_tasks.agents.registry import AgentRecord
from omx_tasks.graph.collector import at_rest
from omx_tasks.graph.schedule import bound, simulate
from omx_tasks.graph.stored import item_of
from omx_tasks.monitoring.marks import Course
from omx_tasks.monitoring.spans import KINDS, Span, spans_of
from omx_tasks.monitoring.warming import wasted
from omx_tasks.runs.history import History


@dataclass(frozen=True)
class Report:
    """A run in figures; times are seconds, ``created`` is Unix seconds.

    ``slots_known`` is False where the agents are gone, and ``slots`` is the most that were seen taken at once.
    ``wasted``: see `warming`.
    """

    run: str
    name: str
    state: str
    created: float
    seconds: float
    ideal: float
    bound: float
    slots: int
    slots_known: bool
    agents: tuple[str, ...]
    operations: int
    calls: int
    cold_starts: int
    wasted: float
    spans: tuple[Span, ...]
    critical: tuple[str, ...]

    @property
    def ratio(self) -> float | None:
        """Achieved time to ideal time; None where nothing was called."""
        return self.seconds / self.ideal if self.ideal > 0 else None

    @cached_property
    def where(self) -> dict[str, float]:
        """Where the time on the critical path went, by kind: what a run takes, spread over its causes."""
        path = [span for span in self.spans if span.critical]
        return {
            kind: sum(one.seconds(kind) for one in path) for kind in KINDS if kind != "dependency"
        }

    @cached_property
    def totals(self) -> dict[str, float]:
        """Where the time of all operations went, by kind; they waited and ran side by side."""
        found = dict.fromkeys(KINDS, 0.0)
        for span in self.spans:
            for kind, begin, end in span.segments:
                found[kind] += end - begin
        return found

    @property
    def cold_on_path(self) -> int:
        """How many calls on the critical path waited for their server to be open."""
        return sum(span.critical and span.seconds("cold") > 0 for span in self.spans)

    @property
    def failed(self) -> int:
        """How many operations failed or are unknown; a foreach is one."""
        wrong = [span.name for span in self.spans if span.state in ("failed", "unknown")]
        return sum(item_of(name)[1] is None for name in wrong)


@at_rest()
def ideal_of(history: History, slots: int | None) -> float:
    """Return the seconds of a run's ideal schedule, without all that a report says beside."""
    if slots is None:
        return report_of(history, None).ideal
    course = Course(history)
    return simulate(course.skeleton, course.durations(), slots)


@at_rest()
def report_of(history: History, slots: int | None, records: Sequence[AgentRecord] = ()) -> Report:
    """Make the report of a run; ``slots`` None says that nobody knows how many there were.

    ``records`` are those of the agents that are up.
    """
    course = Course(history)
    spans, reckoned = spans_of(history, course, slots)
    durations = course.durations()
    return Report(
        run=history.run,
        name=history.name,
        state=history.state,
        created=history.created,
        seconds=max(0.0, history.finished - history.created),
        ideal=simulate(course.skeleton, durations, reckoned),
        bound=bound(course.skeleton, durations, reckoned),
        slots=reckoned,
        slots_known=slots is not None,
        agents=tuple(sorted({span.agent for span in spans if span.agent})),
        operations=len(history.plan.steps),
        calls=sum(marks.call is not None for marks in course.marks.values()),
        cold_starts=sum(span.seconds("cold") > 0 for span in spans),
        wasted=wasted(history, course.marks, records),
        spans=tuple(spans),
        critical=tuple(course.critical),
    )


def slots_for(history: History, records: Sequence[AgentRecord]) -> int | None:
    """Return the slots of the agents that could work on a run, or None where one that did is gone."""
    able = [record for record in records if history.plan.servers.intersection(record.servers)]
    worked = {
        change.detail
        for change in history.changes
        if change.operation and change.state == "running" and not change.detail.isdigit()
    }
    if not worked <= {record.name for record in able}:
        return None
    return sum(record.slots for record in able) or None
