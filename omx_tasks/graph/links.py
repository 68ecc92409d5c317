"""Which operations wait for which, as a table, and an order that respects it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

from omx_tasks.graph.model import Graph


def dependencies(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Return, in file order, the ids that each id needs or refers to, in file order too.

    All of them must exist. Raises GraphError for a bad reference.
    """
    place = {operation.id: number for number, operation in enumerate(graph.operations)}
    return {
        operation.id: tuple(
            sorted(operation.referred.union(operation.needs), key=place.__getitem__)
        )
        for operation in graph.operations
    }


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
