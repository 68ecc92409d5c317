"""Which operations wait for which, as a table, and an order that respects it.

A fallback waits for the operation in whose place it runs: for its failure. Who waits for that operation waits for the
fallback too, where that runs, which only the order has to know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

from omx_tasks.graph.model import Graph


def dependencies(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Return, in file order, the ids that each id needs or refers to, in file order too.

    All of them must exist. Raises GraphError for a bad reference.
    """
    place = {operation.id: number for number, operation in enumerate(graph.operations)}
    failing = in_place_of(graph)
    return {
        operation.id: tuple(
            sorted(
                operation.referred.union(operation.needs, failing.get(operation.id, ())),
                key=place.__getitem__,
            )
        )
        for operation in graph.operations
    }


def in_place_of(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Return, for each fallback, whose it is: one operation in a graph without mistakes."""
    found: dict[str, tuple[str, ...]] = {}
    for operation in graph.operations:
        if operation.fallback is not None:
            found[operation.fallback] = (*found.get(operation.fallback, ()), operation.id)
    return found


def fallbacks(graph: Graph) -> dict[str, str]:
    """Return, for each operation that has one, its fallback."""
    return {one.id: one.fallback for one in graph.operations if one.fallback is not None}


def with_fallbacks(
    needs: Mapping[str, Collection[str]], fallback: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return what each id waits for, with the fallbacks of that; those must exist."""
    waits: dict[str, list[str]] = {}
    for name, needed in needs.items():
        waits[name] = list(needed)
        for other in waits[name]:  # it grows: a fallback may have one of its own
            instead = fallback.get(other)
            if instead is not None and instead != name and instead not in waits[name]:
                waits[name].append(instead)
    return waits


def successors(needs: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Return, for each id, the ids that need it, in the order of ``needs``."""
    following: dict[str, list[str]] = {name: [] for name in needs}
    for name, needed in needs.items():
        for other in needed:
            following[other].append(name)
    return following


def ordered(
    needs: Mapping[str, Collection[str]], following: Mapping[str, Collection[str]]
) -> list[str]:
    """Return the ids so that each follows what it needs; ids on or behind a cycle are left out.

    ``following`` are the `successors` of ``needs``.
    """
    waiting = {name: len(needed) for name, needed in needs.items()}
    ready = deque(name for name, count in waiting.items() if count == 0)
    order = []
    while ready:
        name = ready.popleft()
        order.append(name)
        for successor in following[name]:
            waiting[successor] -= 1
            if waiting[successor] == 0:
                ready.append(successor)
    return order
