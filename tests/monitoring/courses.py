"""Runs made up from numbers: how each operation of a graph would go through a system, and what its stream would say."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import Plan, compile_plan
from omx_tasks.graph.stored import StoredPlan, item_of
from omx_tasks.runs.follow import Change
from omx_tasks.runs.history import History

CREATED = 1_000_000.0
AGENT = "agent1@host"


@dataclass(frozen=True)
class Work:
    """What is done: calls in seconds, or a list of them for a foreach, and what the system takes around each."""

    needs: Mapping[str, Sequence[str]]
    calls: Mapping[str, float | list[float]]
    slots: int = 2
    handover: float = 0.0
    cold: float = 0.0
    stored: float = 0.0

    @property
    def plan(self) -> Plan:
        return compile_plan(
            Graph(
                name="made up",
                operations=[
                    Operation(
                        id=name,
                        server="s",
                        tool="t",
                        needs=list(needs),
                        foreach="${inputs.all}" if isinstance(self.calls[name], list) else None,
                    )
                    for name, needs in self.needs.items()
                ],
                inputs={"all": {"default": []}},
            )
        )

    def history(self) -> History:
        return _Made(self).history()

    @property
    def overhead(self) -> float:
        return self.handover + self.stored


@dataclass
class _Made:
    """Slots take what is ready, in the order in which it became so."""

    work: Work
    free: int = 0
    ready: list[str] = field(default_factory=list)
    events: list[tuple[float, int, str, str]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)

    def history(self) -> History:
        plan, self.free = self.work.plan, self.work.slots
        self.successors = {name: step.successors for name, step in plan.steps.items()}
        self.waits = {name: len(step.needs) for name, step in plan.steps.items()}
        self.ready = [name for name, count in self.waits.items() if not count]
        now = 0.0
        self._begin(now)
        while self.events:
            now, _, kind, name = heapq.heappop(self.events)
            getattr(self, kind)(now, name)
            self._begin(now)
        return History(
            "r-1", "made up", "succeeded", CREATED, CREATED + now,
            StoredPlan.of(plan, {}), self.successors, sorted(self.changes, key=lambda c: c.at),
        )  # fmt: skip

    def _at(self, moment: float, kind: str, name: str) -> None:
        heapq.heappush(self.events, (moment, len(self.changes) + len(self.events), kind, name))

    def _tell(self, at: float, name: str, state: str, detail: str) -> None:
        self.changes.append(Change(CREATED + at, name, state, detail))

    def _begin(self, now: float) -> None:
        while self.free and self.ready:
            name = self.ready.pop(0)
            self.free -= 1
            begun = now + self.work.handover
            self._tell(begun, name, "running", AGENT)
            self._at(begun + self.work.cold + (self._call(name) or 0.0), "answered", name)

    def _call(self, name: str) -> float | None:
        parent, index = item_of(name)
        calls = self.work.calls[parent]
        if isinstance(calls, list):
            return None if index is None else calls[index]
        return calls

    def answered(self, now: float, name: str) -> None:
        self._at(now + self.work.stored, "ended", name)
        seconds = self._call(name)
        if seconds is not None:  # a slot is held until the answer, and without a call until the end
            self.free += 1
            self.records[name] = record(CREATED + now - seconds, CREATED + now, self.work)

    def ended(self, now: float, name: str) -> None:
        self.free += self._call(name) is None
        parent, index = item_of(name)
        calls = self.work.calls[parent]
        if isinstance(calls, list) and index is None and calls:
            self._tell(now, name, "running", str(len(calls)))
            self.left[name] = len(calls)
            self.ready += [f"{name}[{number}]" for number in range(len(calls))]
            return
        is_foreach = isinstance(calls, list) and index is None
        self._tell(now, name, "succeeded", "" if is_foreach else self.records[name])
        if index is not None:
            self.left[parent] -= 1
            if self.left[parent]:
                return
            self._tell(now, parent, "succeeded", "")
        for successor in self.successors[parent]:
            self.waits[successor] -= 1
            if not self.waits[successor]:
                self.ready.append(successor)


def record(started: float | None, finished: float | None, work: Work, **more: Any) -> str:
    about = {"attempts": 1, "agent": AGENT, "started": started, "finished": finished}
    return json.dumps({**about, "error": None, "cold": work.cold, **more})


SECONDS = st.integers(0, 8).map(lambda number: number / 4)


@st.composite
def works(draw: st.DrawFn) -> Work:
    names = [f"o{number}" for number in range(draw(st.integers(1, 6)))]
    needs = {
        name: draw(st.lists(st.sampled_from(names[:place]), unique=True)) if place else []
        for place, name in enumerate(names)
    }
    call = st.one_of(SECONDS, st.lists(SECONDS, max_size=3))
    return Work(
        needs,
        {name: draw(call) for name in names},
        slots=draw(st.integers(1, 3)),
        handover=draw(SECONDS),
        cold=draw(SECONDS),
        stored=draw(SECONDS),
    )
