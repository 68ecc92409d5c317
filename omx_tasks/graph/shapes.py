"""Whether a value that follows a JSON schema can have the field that a reference asks for.

A schema promises what it lists. A field that it does not list is only let through where the schema
says that there may be more (``additionalProperties``, ``patternProperties``) or says nothing at
all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from omx_tasks.graph.paths import Path

_COMBINED = ("anyOf", "oneOf", "allOf")
_BRANCHES = ("then", "else")


class Missing(NamedTuple):
    """The first step of a path that the schema does not have, and what is known there."""

    depth: int
    known: list[str]


def missing(schema: Any, path: Path) -> Missing | None:
    """Return the first step of ``path`` that no value of the schema can have, or None."""
    shapes = list(_alternatives(schema, schema, frozenset()))
    for depth, step in enumerate(path):
        children = [child for shape in shapes for child in _children(shape, step)]
        if not children:
            known = {name for shape in shapes for name in shape.get("properties", {})}
            return Missing(depth, sorted(known))
        shapes = [
            shape for child in children for shape in _alternatives(child, schema, frozenset())
        ]
    return None


def _alternatives(schema: Any, root: Any, seen: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Yield the schemas that a value may follow, ``$ref`` and combinations taken apart."""
    if not isinstance(schema, dict):
        yield {}
        return
    target = schema.get("$ref")
    branches = [branch for word in _COMBINED for branch in schema.get(word, ())]
    branches += [schema[word] for word in _BRANCHES if word in schema]
    if isinstance(target, str) and target not in seen:
        branches.append(_pointed(root, target))
        seen |= {target}
    if not branches or "properties" in schema:
        yield schema
    for branch in branches:
        yield from _alternatives(branch, root, seen)


def _pointed(root: Any, target: str) -> Any:
    """Return what a local ``#/…`` reference points to; anything else says nothing."""
    if not target.startswith("#"):
        return {}
    for step in target[1:].split("/")[1:]:
        root = (
            root.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(root, dict) else {}
        )
    return root


def _children(shape: dict[str, Any], step: str | None) -> list[Any]:
    """Return the schemas of one step below ``shape``: none where the step cannot be taken."""
    kinds = shape.get("type", "object" if step else "array")
    if ("object" if step else "array") not in ([kinds] if isinstance(kinds, str) else kinds):
        return []
    if step is None:
        return [*shape.get("prefixItems", ()), shape.get("items", {})]
    properties = shape.get("properties", {})
    if step in properties:
        return [properties[step]]
    more = shape.get("additionalProperties", not properties)
    return [{}] if more or "patternProperties" in shape else []
