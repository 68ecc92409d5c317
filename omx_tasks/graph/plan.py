"""The compiled graph: who waits for whom, what is released together, and what is on the longest
path.

An operation starts when its own needs are done, never when a level is done. Among those that are
ready the one with the longest path still behind it goes first, which is what the rank says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from omx_tasks.graph.checks import check
from omx_tasks.graph.links import dependencies, ordered, successors
from omx_tasks.graph.model import Graph, Operation

DEFAULT_SECONDS = 1.0
"""How long an operation is taken to last when nothing is known about it."""


@dataclass(frozen=True)
class Step:
    """One operation in its place; ids are in file order.

    ``rank`` is the longest path from here to the end and ``seconds`` this operation's part of it.
    """

    operation: Operation
    needs: tuple[str, ...]
    successors: tuple[str, ...]
    references: tuple[str, ...]
    capabilities: tuple[str, ...]
    rank: float
    seconds: float


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
        return tuple(name for name, step in self.steps.items() if len(step.needs) > 1)

    @cached_property
    def releases(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        """What exactly the same needs release together: Celery's groups. ``()`` is the start."""
        together: dict[tuple[str, ...], list[str]] = {}
        for name, step in self.steps.items():
            together.setdefault(step.needs, []).append(name)
        return {needs: tuple(names) for needs, names in together.items()}

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


def compile_plan(graph: Graph, durations: Mapping[str, float] | None = None) -> Plan:
    """Return the plan of a graph, in time linear in operations and dependencies.

    An operation is taken to last its own ``expect``, else what ``durations`` (seconds by id) says,
    else ``DEFAULT_SECONDS``. Raises GraphError for a cycle, and for whatever else ``check`` finds
    in the graph alone.
    """
    check(graph)
    operations = {operation.id: operation for operation in graph.operations}
    needs = dependencies(graph)
    following = successors(needs)
    seconds = {op.id: _seconds(op, durations or {}) for op in graph.operations}
    order = ordered(needs)
    ranks = longest_remaining(order, following, seconds)
    steps = {
        name: Step(
            operation=operations[name],
            needs=needs[name],
            successors=tuple(following[name]),
            references=tuple(n for n in needs[name] if n in operations[name].referred),
            capabilities=operations[name].capabilities,
            rank=ranks[name],
            seconds=seconds[name],
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


def _seconds(operation: Operation, durations: Mapping[str, float]) -> float:
    if operation.expect is not None:
        return operation.expect
    return durations.get(operation.id, DEFAULT_SECONDS)
