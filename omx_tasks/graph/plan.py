"""The compiled graph: who waits for whom, what is released together, and what is on the longest
path.

An operation starts when its own needs are done, never when a level is done. Among those that are
ready the one with the longest path still behind it goes first, which is what the rank says.

A fallback needs the failure of the operation in whose place it runs. It is released by nothing else, so it is in no
group; what follows that operation follows the fallback where that runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from omx_tasks.graph.checks import check
from omx_tasks.graph.durations import Durations, Source
from omx_tasks.graph.links import (
    dependencies,
    fallbacks,
    in_place_of,
    ordered,
    successors,
    with_fallbacks,
)
from omx_tasks.graph.model import Graph, Operation


@dataclass(frozen=True)
class Step:
    """One operation in its place; ids are in file order.

    ``rank`` is the longest path from here to the end and ``seconds`` this operation's part of it,
    which is known from ``source``. ``fallback`` runs in its place when it fails, and it runs itself in the place of
    ``in_place_of``. ``goes_on`` says that what follows runs even when it failed.
    """

    operation: Operation
    needs: tuple[str, ...]
    successors: tuple[str, ...]
    references: tuple[str, ...]
    capabilities: tuple[str, ...]
    rank: float
    seconds: float
    source: Source
    in_place_of: str | None
    goes_on: bool

    @property
    def fallback(self) -> str | None:
        """The operation that runs in its place when it fails."""
        return self.operation.fallback


@dataclass(frozen=True)
class Plan:
    """A checked graph, compiled. ``steps`` are in an order in which each follows what it needs."""

    graph: Graph
    steps: dict[str, Step]

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """The operations that wait for nothing."""
        return self.releases.get((), ())

    @cached_property
    def joins(self) -> tuple[str, ...]:
        """The operations that wait for more than one other: Celery's chords."""
        return tuple(
            name
            for name, step in self.steps.items()
            if len(step.needs) > 1 and step.in_place_of is None
        )

    @cached_property
    def fallbacks(self) -> dict[str, str]:
        """The operations that run in the place of another one that failed, by that one."""
        return {name: step.fallback for name, step in self.steps.items() if step.fallback}

    def followers(self, name: str) -> tuple[str, ...]:
        """Return what is released when an operation has its value, be it from the one in whose place it runs."""
        step = self.steps[name]
        while step.in_place_of is not None:
            step = self.steps[step.in_place_of]
        return tuple(other for other in step.successors if other != step.fallback)

    @cached_property
    def releases(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        """What exactly the same needs release together: Celery's groups. ``()`` is the start."""
        together: dict[tuple[str, ...], list[str]] = {}
        for name, step in self.steps.items():
            if step.in_place_of is None:
                together.setdefault(step.needs, []).append(name)
        return {needs: tuple(names) for needs, names in together.items()}

    @cached_property
    def batches(self) -> dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[str, ...]]:
        """What is published into one queue at once, by needs and capabilities, where it is several.

        An agent claims, begins and acks of these together what it has slots for; each starts, fails
        and releases its successors by itself.
        """
        together: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
        for name, step in self.steps.items():
            together.setdefault((step.needs, step.capabilities), []).append(name)
        return {key: tuple(names) for key, names in together.items() if len(names) > 1}

    @cached_property
    def servers(self) -> dict[str, float]:
        """Each server with the earliest second, from the start, at which it can be needed."""
        finish: dict[str, float] = {}
        earliest: dict[str, float] = {}
        for name, step in self.steps.items():
            start = max((finish[need] for need in step.needs), default=0.0)
            finish[name] = start + step.seconds
            server = step.operation.server
            earliest[server] = min(start, earliest.get(server, start))
        return earliest


def compile_plan(graph: Graph, durations: Durations | None = None) -> Plan:
    """Check a graph by itself and return its plan. Raises GraphError for whatever ``check`` finds."""
    check(graph)
    return compile_checked(graph, durations)


def compile_checked(graph: Graph, durations: Durations | None = None) -> Plan:
    """Return the plan of a graph that was checked, in time linear in operations and dependencies."""
    known = durations or Durations()
    needs, instead, failing = dependencies(graph), fallbacks(graph), in_place_of(graph)
    following = successors(needs)
    waits = with_fallbacks(needs, instead)
    behind = successors(waits)
    operations = {operation.id: operation for operation in graph.operations}
    lasting = {name: known.of(operation) for name, operation in operations.items()}
    order = ordered(waits, behind)
    ranks = longest_remaining(order, behind, {n: one.seconds for n, one in lasting.items()})
    goes_on = {name: operation.on_failure == "continue" for name, operation in operations.items()}
    for name in order:  # a fallback after the operation in whose place it runs
        goes_on[name] |= any(goes_on[other] for other in failing.get(name, ()))
    steps = {
        name: Step(
            operation=operations[name],
            needs=needs[name],
            successors=tuple(following[name]),
            references=tuple(n for n in needs[name] if n in operations[name].referred),
            capabilities=operations[name].capabilities,
            rank=ranks[name],
            seconds=lasting[name].seconds,
            source=lasting[name].source,
            in_place_of=failing[name][0] if name in failing else None,
            goes_on=goes_on[name],
        )
        for name in order
    }
    return Plan(graph, steps)


def longest_remaining(
    order: list[str],
    following: Mapping[str, Collection[str]],
    seconds: Mapping[str, float],
) -> dict[str, float]:
    """Return, for each id, the seconds of the longest path that begins with it."""
    ranks: dict[str, float] = {}
    for name in reversed(order):
        behind = max((ranks[successor] for successor in following[name]), default=0.0)
        ranks[name] = seconds[name] + behind
    return ranks
