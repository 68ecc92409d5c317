"""The project's own settings of a server: the ``omx`` key, which other hosts ignore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from omx_tasks.errors import did_you_mean


@dataclass(frozen=True)
class Hints:
    """What a server's annotations leave unsaid.

    ``read_only`` and ``idempotent`` name tools; ``resource`` is a JMESPath expression over a
    call's arguments whose value writes take turns on; ``shared`` is the user's word that all
    agents' processes of this server work on the same state; ``cache`` that what the server says
    may be kept (``ttlMs`` of protocol 2026-07-28: resources and lists) is kept for so long.
    """

    read_only: frozenset[str] = frozenset()
    idempotent: frozenset[str] = frozenset()
    resource: str | None = None
    shared: bool = False
    cache: bool = False


def parse(raw: Any) -> Hints:
    """Check the ``omx`` object strictly; raises ``ValueError`` that says what is wrong."""
    if not isinstance(raw, dict):
        raise ValueError('"omx" must be an object')
    known = ("read_only", "idempotent", "resource", "shared", "cache")
    for key in raw:
        if key not in known:
            raise ValueError(f'"omx" has no key {key!r}.{did_you_mean(key, known)}')
    return Hints(
        _tools(raw, "read_only"),
        _tools(raw, "idempotent"),
        _resource(raw),
        _flag(raw, "shared"),
        _flag(raw, "cache"),
    )


def _flag(raw: dict[str, Any], key: str) -> bool:
    value = raw.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f'"omx.{key}" must be true or false')
    return value


def _tools(raw: dict[str, Any], key: str) -> frozenset[str]:
    names = raw.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'"omx.{key}" must be a list of tool names')
    return frozenset(names)


def _resource(raw: dict[str, Any]) -> str | None:
    expression = raw.get("resource")
    if expression is None:
        return None
    if not isinstance(expression, str):
        raise ValueError('"omx.resource" must be a JMESPath expression, as a string')
    try:
        jmespath.compile(expression)
    except JMESPathError as error:
        raise ValueError(f'"omx.resource" is not a JMESPath expression: {error}') from error
    return expression
