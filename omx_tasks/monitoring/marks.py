"""What a run's stream says of each operation: when it was begun, when its outcome was stored, and by whom."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from omx_tasks.graph.schedule import Skeleton
from omx_tasks.graph.stored import item_of
from omx_tasks.results.joins import OVER
from omx_tasks.runs.follow import Change
from omx_tasks.runs.history import History


@dataclass
class Marks:
    """One operation, or one item of a foreach; moments are seconds since the run was submitted.

    ``place`` is where in the stream it ended: several may end in one millisecond, and one of them was the last.
    """

    name: str
    state: str = "running"
    agent: str = ""
    begun: float | None = None
    expanded: float | None = None
    ended: float | None = None
    place: int = -1
    record: Mapping[str, Any] = field(default_factory=dict)

    def note(self, change: Change, at: float, place: int) -> None:
        """Read one change."""
        if change.state in OVER:
            self.ended, self.state, self.place = at, change.state, place
            self.record = json.loads(change.detail) if change.detail else {}
            self.agent = self.record.get("agent") or self.agent
        elif change.state == "running" and self.begun is None:
            self.begun, self.agent = at, change.detail
        elif change.state == "running" and not change.detail.isdigit():  # another attempt
            self.agent = change.detail
        elif change.state == "running" and self.expanded is None:  # so many items
            self.expanded = at

    @property
    def worked(self) -> float | None:
        """When its own work was done: a foreach's is to make its items."""
        return self.ended if self.expanded is None else self.expanded

    @property
    def started(self) -> float:
        """When its call began, by its agent's clock (Unix seconds); 0 where there was none."""
        return float(self.record.get("started") or 0.0)

    @property
    def call(self) -> float | None:
        """The seconds of its call, None where there was none."""
        finished = self.record.get("finished")
        return None if finished is None else max(0.0, float(finished) - self.started)


class Course:
    """The marks of all operations that were begun or given up, and what released each."""

    def __init__(self, history: History) -> None:
        self.created = history.created
        self.skeleton = Skeleton.of(list(history.plan.steps), history.successors)
        self.marks: dict[str, Marks] = {}
        for place, change in enumerate(history.changes):
            if change.state == "waiting":  # it was resumed, and is begun anew
                self.marks.pop(change.operation, None)
            elif change.operation and change.state != "skipped":
                marks = self.marks.setdefault(change.operation, Marks(change.operation))
                marks.note(change, max(0.0, change.at - history.created), place)
        self.items: dict[str, list[Marks]] = defaultdict(list)
        for name, marks in self.marks.items():
            parent, index = item_of(name)
            if index is not None:
                self.items[parent].append(marks)

    def released_by(self, name: str) -> Marks | None:
        """Return whose end made an operation ready: its last need, or a foreach for its items."""
        parent, index = item_of(name)
        if index is not None:
            return self.marks.get(parent)
        needs = [self.marks[need] for need in self.skeleton.steps[name].needs if need in self.marks]
        return max(needs, key=_place, default=None)

    def last_of(self, marks: Marks) -> Marks:
        """Return what ended last of an operation: itself, or an item."""
        return max(
            self.items.get(marks.name, ()), key=lambda item: item.ended or 0.0, default=marks
        )

    def ready(self, name: str) -> float:
        """Return when an operation became ready."""
        before = self.released_by(name)
        if before is None:
            return 0.0
        moment = before.worked if item_of(name)[1] is not None else before.ended
        return moment or 0.0

    def durations(self) -> dict[str, float | list[float]]:
        """Return the seconds of every call that was made, as the ideal schedule takes them."""
        found: dict[str, float | list[float]] = {}
        for name in self.skeleton.steps:
            if name in self.items:
                found[name] = [item.call for item in self.items[name] if item.call is not None]
            elif name in self.marks and (seconds := self.marks[name].call) is not None:
                found[name] = seconds
        return found

    @cached_property
    def critical(self) -> list[str]:
        """Return what set the end of the run: what ended last, what released that, and so on; the first one first."""
        last = max(self.marks.values(), key=_place, default=None)
        path = []
        current = None if last is None else self.last_of(last)
        while current is not None:
            path.append(current.name)
            before = self.released_by(current.name)
            is_item = item_of(current.name)[1] is not None
            current = before if before is None or is_item else self.last_of(before)
        return path[::-1]


def _place(marks: Marks) -> int:
    return marks.place
