"""Checked before it runs: all of a graph that can be known to be wrong before it is queued.

A mistake that is found here costs nothing; found at run time it has already called tools that may
write.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from omx_tasks.errors import GraphError, did_you_mean
from omx_tasks.graph.contracts import Contracts, ServerTools
from omx_tasks.graph.inputs import known_inputs
from omx_tasks.graph.limits import MAX_ARGUMENTS, too_large
from omx_tasks.graph.links import fallbacks, in_place_of, ordered, successors, with_fallbacks
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.operation import ITEM_NAMES, SERVER
from omx_tasks.graph.paths import Path
from omx_tasks.graph.strict import prefixed

MOST_PROBLEMS = 25
SHOWN_OF_CYCLE = 40
VALUE_FIELDS = ("text", "structured", "content", "error")
"""What the value of an operation consists of, as references see it."""


def check(
    graph: Graph,
    *,
    servers: Collection[str] | None = None,
    catalogue: Mapping[str, ServerTools | None] | None = None,
    source: str = "",
) -> None:
    """Raise GraphError with all problems of a graph, one per line, at most ``MOST_PROBLEMS``.

    ``servers`` are the known servers' names. ``catalogue`` holds what a server offers; calls to a
    server that it lacks, or has as None, are not checked. ``source`` begins each line.
    """
    checker = _Checker(graph, servers, catalogue or {})
    problems = list(islice(checker.problems(), MOST_PROBLEMS + 1))
    if len(problems) > MOST_PROBLEMS:
        problems[-1] = "there are more problems; mend these first"
    if problems:
        raise GraphError(prefixed(source, problems))


class _Checker:
    """One check of one graph. Problems are found one by one, so that a hopeless graph is cheap."""

    def __init__(
        self,
        graph: Graph,
        servers: Collection[str] | None,
        catalogue: Mapping[str, ServerTools | None],
    ) -> None:
        self._graph = graph
        self._servers = servers
        self._contracts = Contracts(catalogue)
        self._known = {operation.id: operation for operation in graph.operations}
        self._failing = in_place_of(graph)

    def problems(self) -> Iterator[str]:
        """Yield the problems of each operation, then one cycle, if there is any."""
        if not self._graph.operations:
            yield "the graph has no operations; add one"
        for name, count in Counter(op.id for op in self._graph.operations).items():
            if count > 1:
                yield f"operation {name!r} is given {count} times; ids must differ"
        for operation in self._graph.operations:
            for problem in self._own_problems(operation):
                yield f"operation {operation.id!r}: {problem}"
        waits = {name: self._waits(op) for name, op in self._known.items()}
        known = {name: to for name, to in fallbacks(self._graph).items() if to in self._known}
        yield from _cycle(with_fallbacks(waits, known))

    def _own_problems(self, operation: Operation) -> Iterator[str]:
        yield from self._unknown_capabilities(operation)
        size = len(json.dumps(operation.arguments)) if operation.arguments else 0
        if problem := too_large("its arguments have", size, MAX_ARGUMENTS):
            yield f"{problem}; leave large values with the servers"
        for name in operation.needs:
            yield from self._unknown_operation("needs", name, operation)
        yield from self._fallback_problems(operation)
        try:
            yield from self._path_problems(operation)
            yield from self._contract_problems(operation)
        except GraphError as error:
            yield str(error)

    def _fallback_problems(self, operation: Operation) -> Iterator[str]:
        if operation.fallback is not None:
            yield from self._unknown_operation("has the fallback", operation.fallback, operation)
        failing = self._failing.get(operation.id, ())
        if len(failing) > 1:
            yield f"is the fallback of {' and '.join(failing)}; it can be that of one only"
        if failing and operation.foreach is not None:
            yield f"is the fallback of {failing[0]!r}, and takes no foreach"
        for name in sorted(self._named(operation) - {operation.id, *failing}):
            for other in self._failing.get(name, ()):
                yield f"waits for {name!r}, the fallback of {other!r}; write {other!r}, which stands for both"

    def _unknown_capabilities(self, operation: Operation) -> Iterator[str]:
        """Tell the servers that there are not: its own, and those that it requires besides."""
        if self._servers is None:
            return
        for word in operation.capabilities:
            name = word.removeprefix(SERVER)
            if word.startswith(SERVER) and name not in self._servers:
                known = ", ".join(sorted(self._servers)) or "none"
                what = (
                    "unknown server" if name == operation.server else "requires the unknown server"
                )
                hint = did_you_mean(name, self._servers)
                yield f"{what} {name!r}.{hint} Known servers: {known}"

    def _path_problems(self, operation: Operation) -> Iterator[str]:
        for path in _longest(operation.foreach_paths):
            if path[0] in ITEM_NAMES:
                yield f"foreach refers to {path[0]!r}, which exists only in its arguments"
            else:
                yield from self._path_problem(operation, path)
        for path in _longest(operation.body_paths):
            if path[0] in ITEM_NAMES and operation.foreach is None:
                yield f"refers to {path[0]!r}, which exists only with a foreach"
            else:
                for counted in _from_source(operation, path):
                    yield from self._path_problem(operation, counted)

    def _path_problem(self, operation: Operation, path: Path) -> Iterator[str]:
        name = str(path[0])
        if name == "inputs":
            yield from self._unknown_input(path[1:])
        elif name not in self._known:
            yield from self._unknown_operation("refers to", name, operation)
        elif name == operation.id:
            yield "refers to itself"
        else:
            yield from _unknown_field(self._known[name], path[1:])

    def _unknown_input(self, rest: Path) -> Iterator[str]:
        inputs = self._graph.inputs
        if rest and rest[0] is not None and rest[0] not in inputs:
            yield f"refers to the unknown input {rest[0]!r}.{known_inputs(rest[0], inputs)}"

    def _unknown_operation(self, verb: str, name: str, operation: Operation) -> Iterator[str]:
        if name == operation.id:
            yield f"{verb} itself"
        elif name not in self._known:
            others = [other for other in self._known if other != operation.id]
            hint = did_you_mean(name, others if verb == "needs" else [*others, "inputs"])
            yield f"{verb} {name!r}, which is no operation of this graph.{hint}"

    def _contract_problems(self, operation: Operation) -> Iterator[str]:
        if not self._contracts:
            return
        yield from self._contracts.given(operation)
        paths = operation.foreach_paths | {
            path for given in operation.body_paths for path in _from_source(operation, given)
        }
        for path in _longest(paths):
            source = self._known.get(str(path[0]))
            if source is not None:
                rest = path[2:] if source.foreach else path[1:]
                if rest[:1] == ("structured",):
                    problem = self._contracts.expected(source, rest[1:])
                    yield from [problem] if problem else []

    def _waits(self, operation: Operation) -> list[str]:
        """Return the other operations it waits for, as far as they exist and can be read."""
        names = self._named(operation).union(self._failing.get(operation.id, ()))
        return [name for name in sorted(names) if name in self._known and name != operation.id]

    def _named(self, operation: Operation) -> frozenset[str]:
        """Return the operations that it needs or refers to, as far as its references can be read."""
        try:
            return operation.referred.union(operation.needs)
        except GraphError:
            return frozenset(operation.needs)


def _from_source(operation: Operation, path: Path) -> Iterator[Path]:
    """Yield ``path`` counted from the scope, where known: ``item`` is an element of a list."""
    if path[0] not in ITEM_NAMES:
        yield path
    elif path[0] == "item" and operation.element_path:
        yield (*operation.element_path, *path[1:])


def _unknown_field(source: Operation, rest: Path) -> Iterator[str]:
    """Tell a field that no value of ``source`` has: JMESPath would quietly give null for it."""
    if not rest:
        return
    if source.foreach and rest[0] is not None:
        yield (
            f"refers to {source.id}.{rest[0]}, but {source.id!r} has a foreach, so it is a list; "
            f"write {source.id}[*].{rest[0]}"
        )
    elif not source.foreach and rest[0] is None:
        yield f"takes {source.id!r} for a list, which it is not without a foreach"
    else:
        field = next((step for step in rest[:2] if step is not None), None)
        if field is not None and field not in VALUE_FIELDS:
            hint = did_you_mean(field, VALUE_FIELDS) or f" It has: {', '.join(VALUE_FIELDS)}"
            yield f"refers to {field!r} of {source.id!r}, which there is not.{hint}"


def _longest(paths: Collection[Path]) -> list[Path]:
    """Return the paths that are no beginning of another one, in a stable order."""
    beginnings = {path[:-1] for path in paths}
    return sorted((path for path in paths if path not in beginnings), key=repr)


def _cycle(needs: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Tell one cycle, in the direction in which it waits; mending it shows the next."""
    stuck = set(needs).difference(ordered(needs, successors(needs)))
    if not stuck:
        return
    trail: dict[str, None] = {}
    name = next(other for other in needs if other in stuck)
    while name not in trail:
        trail[name] = None
        name = next(other for other in needs[name] if other in stuck)
    names = list(trail)
    circle = [*names[names.index(name) :], name]
    if (more := len(circle) - SHOWN_OF_CYCLE) > 0:
        half = SHOWN_OF_CYCLE // 2
        circle = [*circle[:half], f"({more:,} more)", *circle[-half:]]
    path = " → ".join(circle)
    yield f"these operations wait for each other: {path}; drop one of these needs or references"
