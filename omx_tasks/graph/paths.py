"""What a JMESPath expression reads, found without running it.

A reference is a dependency, so the names that an expression takes from the scope must be known
before anything runs, and exactly: ``sort_by(list.structured.notes, &name)`` reads ``list``, but not
``name``, which belongs to the notes. The walk follows the path of each value it can follow from the
scope's root (``()``); a value that is computed has no path (``None``). The longer paths let a check
compare ``list.structured.notes`` with what the server says it returns.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from jmespath.functions import Functions

from omx_tasks.errors import did_you_mean

Path: TypeAlias = tuple[str | None, ...]
"""Steps from the scope's root: a field's name, or None for "an element of the list"."""

ROOT: Path = ()


def walk(node: dict[str, Any]) -> tuple[frozenset[Path], Path | None]:
    """Return all paths that the parsed expression ``node`` reads, and the path of its result.

    Raises ValueError for a function that does not exist or is given the wrong number of arguments,
    and where the scope as a whole is used (``@``, ``*``): its dependencies could not be told.
    """
    walker = _Walker()
    result = walker.part(node, ROOT)
    return frozenset(walker.found), result


class _Walker:
    """One method per kind of node: from the path of its value to the path of its result."""

    def __init__(self) -> None:
        self.found: set[Path] = set()

    def part(self, node: dict[str, Any], base: Path | None) -> Path | None:
        """Visit a node whose value is used as a whole, so it must not be the scope itself."""
        path = self._visit(node, base)
        if path == ROOT:
            raise ValueError(
                "uses the whole scope (@ or *); name the inputs and operations that are meant"
            )
        return path

    def _visit(self, node: dict[str, Any], base: Path | None) -> Path | None:
        visit = getattr(self, f"_{node['type']}", self._computed)
        path: Path | None = visit(node, base)
        return path

    def _computed(self, node: dict[str, Any], base: Path | None) -> None:
        for child in node["children"]:
            self.part(child, base)

    def _field(self, node: dict[str, Any], base: Path | None) -> Path | None:
        if base is None:
            return None
        path = (*base, str(node["value"]))
        self.found.add(path)
        return path

    def _current(self, _node: dict[str, Any], base: Path | None) -> Path | None:
        return base

    _identity = _slice = _current

    def _index(self, _node: dict[str, Any], base: Path | None) -> Path | None:
        return self._element(base)

    def _chain(self, node: dict[str, Any], base: Path | None) -> Path | None:
        path = base
        for child in node["children"]:
            path = self._visit(child, path)
        return path

    _subexpression = _index_expression = _pipe = _chain

    def _either(self, node: dict[str, Any], base: Path | None) -> Path | None:
        left, right = (self.part(child, base) for child in node["children"])
        return left if left == right else None

    _or_expression = _and_expression = _either

    def _projection(self, node: dict[str, Any], base: Path | None) -> Path | None:
        """``left[*].right`` and ``left[?test].right``: the rest is evaluated on left's elements."""
        left, *rest = node["children"]
        path = self.part(left, base)
        element = self._element(path)
        results = [self.part(child, element) for child in rest]
        return path if results[0] == element else None

    _filter_projection = _projection

    def _value_projection(self, node: dict[str, Any], base: Path | None) -> None:
        left, right = node["children"]
        self.part(left, base)
        self.part(right, None)

    def _function_expression(self, node: dict[str, Any], base: Path | None) -> None:
        _check_call(node)
        for child in node["children"]:
            if child["type"] == "expref":
                self.part(child["children"][0], None)
            else:
                self.part(child, base)

    def _expref(self, _node: dict[str, Any], _base: Path | None) -> None:
        raise ValueError("has an & expression that is no argument of a function")

    def _element(self, base: Path | None) -> Path | None:
        if not base:
            return None
        path = (*base, None)
        self.found.add(path)
        return path


def _check_call(node: dict[str, Any]) -> None:
    """Refuse now what JMESPath finds only when it evaluates: a wrong function or count."""
    name, given = node["value"], node["children"]
    spec = Functions.FUNCTION_TABLE.get(name)
    if spec is None:
        raise ValueError(
            f"calls the unknown function {name}().{did_you_mean(name, Functions.FUNCTION_TABLE)}"
        )
    due = spec["signature"]
    variadic = bool(due) and due[-1].get("variadic", False)
    if len(given) < len(due) or (len(given) > len(due) and not variadic):
        least = "at least " if variadic else ""
        raise ValueError(f"gives {name}() {len(given)} arguments; it takes {least}{len(due)}")
    parameters = [*due, *[due[-1]] * (len(given) - len(due))]
    for argument, parameter in zip(given, parameters, strict=True):
        if (argument["type"] == "expref") != (parameter["types"] == ["expref"]):
            raise ValueError(
                f"calls {name}() with an & expression misplaced; see the JMESPath manual"
            )
