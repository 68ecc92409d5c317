"""The project's own settings of a server: the ``omx`` key, which other hosts ignore."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from omx_tasks import sizes
from omx_tasks.errors import OperationError, did_you_mean
from omx_tasks.mcp import access

#: Characters of a resource's name that are kept as they are.
NAME = 80


@dataclass(frozen=True)
class Hints:
    """What a server's annotations leave unsaid.

    ``read_only`` and ``idempotent`` name tools; ``resource`` is a JMESPath expression over a
    call's arguments whose value writes take turns on; ``shared`` is the user's word that one process of this server
    may serve all agents of a machine at once; ``stateful`` that what a run does on it is for that run alone, which
    gets a process of its own; ``cache`` that what the server says may be kept (``ttlMs`` of protocol 2026-07-28:
    resources and lists) is kept for so long; ``roles`` are those of templates that it fills, besides the one that has
    its name; ``memory`` is in bytes what its process and those that it starts may use, before another one takes its
    place; ``warm`` has agents hold it open always, also where they open others only when they are needed.

    Turns do not depend on ``shared``: processes without that word may still write to one file, so
    all that have the server's name take turns over the whole cluster.
    """

    read_only: frozenset[str] = frozenset()
    idempotent: frozenset[str] = frozenset()
    resource: str | None = None
    shared: bool = False
    cache: bool = False
    roles: frozenset[str] = frozenset()
    memory: int | None = None
    warm: bool = False
    stateful: bool = False

    def resource_of(self, arguments: dict[str, Any]) -> str:
        """Return the name of what a call writes to, as its arguments say; empty: all of the server.

        Calls whose arguments name nothing (``null``) take turns among each other. Raises
        ``OperationError``.
        """
        if self.resource is None:
            return ""
        try:
            name = json.dumps(jmespath.search(self.resource, arguments), sort_keys=True)
        except JMESPathError as error:
            raise OperationError("resource", f"omx.resource {self.resource!r}: {error}") from error
        if len(name) <= NAME:
            return name
        return f"{name[: NAME // 2]}...{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def parse(raw: Any) -> Hints:
    """Check the ``omx`` object strictly; raises ``ValueError`` that says what is wrong."""
    if not isinstance(raw, dict):
        raise ValueError('"omx" must be an object')
    known = (
        "read_only",
        "idempotent",
        "resource",
        "shared",
        "cache",
        "roles",
        "memory",
        "warm",
        "stateful",
        *access.KEYS,
    )
    for key in raw:
        if key not in known:
            hint = did_you_mean(key, known) or f" Known keys: {', '.join(known)}"
            raise ValueError(f'"omx" has no key {key!r}.{hint}')
    if _flag(raw, "shared") and _flag(raw, "stateful"):
        raise ValueError('"omx" has "shared" and "stateful": keep one of them')
    return Hints(
        _texts(raw, "read_only", "tool names"),
        _texts(raw, "idempotent", "tool names"),
        _resource(raw),
        _flag(raw, "shared"),
        _flag(raw, "cache"),
        _texts(raw, "roles", "templates' roles"),
        _memory(raw),
        _flag(raw, "warm"),
        _flag(raw, "stateful"),
    )


def _memory(raw: dict[str, Any]) -> int | None:
    if "memory" not in raw:
        return None
    try:
        return sizes.parse(raw["memory"])
    except ValueError as error:
        raise ValueError(f'"omx.memory": {error}') from error


def _flag(raw: dict[str, Any], key: str) -> bool:
    value = raw.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f'"omx.{key}" must be true or false')
    return value


def _texts(raw: dict[str, Any], key: str, what: str) -> frozenset[str]:
    names = raw.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'"omx.{key}" must be a list of {what}')
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
