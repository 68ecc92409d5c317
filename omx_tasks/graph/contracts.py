"""What an operation gives to a server and expects from it, held against the server's own catalogue.

Only what is certain before the run is told: of a value that a reference will give, nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias

from omx_tasks.errors import did_you_mean
from omx_tasks.graph.arguments import Schema
from omx_tasks.graph.model import Operation
from omx_tasks.graph.paths import Path
from omx_tasks.graph.shapes import missing

ServerTools: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
"""A server's lists as MCP gives them, by ``tools`` and ``prompts``; an absent one is unknown."""


class Contracts:
    """What the servers offer, by name. A schema is prepared once, however many operations use it."""

    def __init__(self, catalogue: Mapping[str, ServerTools | None]) -> None:
        self._entries = {
            (server, kind): {str(entry["name"]): entry for entry in offered[f"{kind}s"]}
            for server, offered in catalogue.items()
            if offered is not None
            for kind in ("tool", "prompt")
            if f"{kind}s" in offered
        }
        self._schemas: dict[tuple[str, str], Schema] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def given(self, operation: Operation) -> Iterator[str]:
        """Yield what is wrong with the tool or prompt that is called and with its arguments."""
        entries = self._entries.get((operation.server, operation.kind))
        if entries is None:
            return
        entry = entries.get(operation.target)
        if entry is None:
            known = list(entries)
            hint = did_you_mean(operation.target, known) or f" It has: {', '.join(known) or 'none'}"
            yield f"server {operation.server!r} has no {operation.kind} {operation.target!r}.{hint}"
        elif operation.kind == "prompt":
            yield from _prompt_arguments(operation, entry.get("arguments") or ())
        else:
            schema = entry.get("inputSchema") or {}
            yield from _tool_arguments(operation, schema)
            yield from self._schema(operation, schema).problems(
                operation.arguments, operation.target
            )

    def expected(self, source: Operation, path: Path) -> str | None:
        """Return what is wrong with reading ``path`` from ``source``'s structured output, or None."""
        entry = self._entries.get((source.server, source.kind), {}).get(source.target, {})
        schema = entry.get("outputSchema")
        lack = missing(schema, path) if schema else None
        if lack is None:
            return None
        wanted = path[lack.depth]
        what = f"no field {wanted!r}" if wanted else "no list"
        place = "".join("[]" if step is None else f".{step}" for step in path[: lack.depth])
        hint = did_you_mean(wanted, lack.known) if wanted else ""
        if not hint and lack.known:
            hint = f" It has: {', '.join(lack.known)}"
        return (
            f"by the output schema of tool {source.target!r} there is {what} "
            f"in {source.id}.structured{place}.{hint}"
        )

    def _schema(self, operation: Operation, schema: dict[str, Any]) -> Schema:
        key = operation.server, operation.target
        if key not in self._schemas:
            self._schemas[key] = Schema(schema)
        return self._schemas[key]


def _prompt_arguments(operation: Operation, declared: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    required = [item["name"] for item in declared if item.get("required")]
    yield from _missing_arguments(operation, required)
    yield from _unknown_arguments(operation, [item["name"] for item in declared])


def _tool_arguments(operation: Operation, schema: dict[str, Any]) -> Iterator[str]:
    yield from _missing_arguments(operation, schema.get("required", ()))
    if schema.get("additionalProperties") is False and "patternProperties" not in schema:
        yield from _unknown_arguments(operation, schema.get("properties", {}))


def _missing_arguments(operation: Operation, required: Sequence[str]) -> Iterator[str]:
    for name in required:
        if name not in operation.arguments:
            near = get_close_matches(name, operation.arguments.keys() - set(required), n=1)
            meant = f", or is {near[0]!r} meant for it?" if near else ""
            yield f"{operation.kind} {operation.target!r} requires the argument {name!r}; add it{meant}"


def _unknown_arguments(
    operation: Operation, known: Mapping[str, Any] | Sequence[str]
) -> Iterator[str]:
    for name in operation.arguments:
        if name not in known:
            hint = did_you_mean(name, known) or f" It takes: {', '.join(known) or 'none'}"
            yield f"{operation.kind} {operation.target!r} has no argument {name!r}.{hint}"
