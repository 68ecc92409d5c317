"""One operation of a graph: which call it is, what it waits for and how it may fail."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from omx_tasks.errors import GraphError
from omx_tasks.graph import references
from omx_tasks.graph.paths import Path
from omx_tasks.graph.reading import plain, shown
from omx_tasks.graph.strict import Strict
from omx_tasks.priorities import Priority

NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
TEXT = r"^[^\x00-\x1f\x7f]+$"
ITEM_NAMES = frozenset({"item", "index"})
RESERVED = ITEM_NAMES | {"inputs"}
SERVER = "server:"
"""What the capabilities begin with that are servers' names."""
KINDS: tuple[Literal["tool", "resource", "prompt"], ...] = ("tool", "resource", "prompt")


def _named_priority(value: Any) -> Any:
    if isinstance(value, str) and value in Priority.__members__:
        return Priority[value]
    return value if isinstance(value, Priority) else None


def _without_reference(value: Any) -> Any:
    if isinstance(value, str) and "${" in value:
        raise ValueError(
            "must be a fixed name, without ${…}; only arguments and URIs take references"
        )
    return value


def _one_reference(value: Any) -> Any:
    if value is None:
        return value
    try:
        if isinstance(value, str) and references.single(value):
            return value
    except GraphError as error:
        raise ValueError(f"holds a {error}") from None
    raise ValueError(f"must be exactly one ${{…}} that gives a list, not {shown(value)}")


def _unreserved(value: Any) -> Any:
    if value in RESERVED:
        raise ValueError(f"must not be {value!r}, which references use; choose another name")
    return value


_Priority = Annotated[
    Priority, BeforeValidator(_named_priority), PlainSerializer(lambda priority: priority.name)
]
_FixedName = Annotated[str | None, BeforeValidator(_without_reference), Field(pattern=TEXT)]
Word = Annotated[str, Field(pattern=TEXT)]


class Operation(Strict):
    """One MCP call: a tool, a resource or a prompt of one server. Times are in seconds."""

    id: Annotated[str, BeforeValidator(_unreserved)] = Field(
        pattern=NAME, description="a name of letters, digits and _ that begins with no digit"
    )
    server: Word = Field(description="the name of a server in the mcpServers file")
    tool: _FixedName = Field(None, description="the name of a tool")
    resource: Word | None = Field(None, description="the URI of a resource")
    prompt: _FixedName = Field(None, description="the name of a prompt")
    arguments: Annotated[dict[str, Any], BeforeValidator(plain)] = Field(
        default={}, description="a mapping of argument names to JSON values"
    )
    needs: tuple[str, ...] = Field((), description="a list of operation ids")
    requires: tuple[Word, ...] = Field((), description="a list of capabilities")
    priority: _Priority = Field(Priority.P2, description="P0, P1, P2 or P3")
    timeout: float = Field(
        60.0, gt=0, allow_inf_nan=False, strict=True, description="a number of seconds above 0"
    )
    retries: int = Field(2, ge=0, strict=True, description="a whole number from 0 up")
    expect: float | None = Field(
        None, ge=0, allow_inf_nan=False, strict=True, description="a number of seconds from 0 up"
    )
    foreach: Annotated[str | None, BeforeValidator(_one_reference)] = Field(
        None, description="one ${…} that gives a list"
    )
    on_failure: Literal["fail", "continue"] = Field("fail", description="fail or continue")
    fallback: str | None = Field(
        None,
        pattern=NAME,
        description="the id of the operation that runs in its place when it fails",
    )

    @cached_property
    def kind(self) -> Literal["tool", "resource", "prompt"]:
        """Which of the three is called."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @cached_property
    def target(self) -> str:
        """The tool's or prompt's name, or the resource's URI (which may hold references)."""
        return str(getattr(self, self.kind))

    @property
    def capabilities(self) -> tuple[str, ...]:
        """All words that an agent must offer to run this, sorted; ``server:NAME`` is one."""
        return tuple(sorted({SERVER + self.server, *self.requires}))

    @cached_property
    def body_paths(self) -> frozenset[Path]:
        """What its arguments or URI read from the scope, ``item`` and ``index`` included.

        This and the next ones raise GraphError for a bad reference.
        """
        found = references.references([self.arguments, self.resource])
        return frozenset(path for reference in found for path in reference.paths)

    @cached_property
    def foreach_paths(self) -> frozenset[Path]:
        """What its ``foreach`` reads from the scope, and the elements of the list it gives."""
        reference = references.single(self.foreach) if self.foreach else None
        paths = reference.paths if reference else frozenset()
        return paths | {self.element_path} if self.element_path else paths

    @cached_property
    def element_path(self) -> Path | None:
        """Where ``item`` comes from; None without a foreach, and where its list is computed."""
        reference = references.single(self.foreach) if self.foreach else None
        return (*reference.result, None) if reference and reference.result else None

    @cached_property
    def referred(self) -> frozenset[str]:
        """The ids of the operations that it refers to."""
        return _named(self.body_paths | self.foreach_paths)

    @property
    def referred_by_body(self) -> frozenset[str]:
        """The ids of those whose values its arguments or URI need: for a foreach, those of each item."""
        return _named(self.body_paths)

    @property
    def referred_by_foreach(self) -> frozenset[str]:
        """The ids of those whose values the list of its foreach is made from."""
        return _named(self.foreach_paths)

    @classmethod
    def _contradictions(cls, data: dict[str, Any]) -> Iterator[str]:
        given = [kind for kind in KINDS if data.get(kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            yield f"give exactly one of tool, resource and prompt; found {found}"
        if data.get("fallback") is not None and data.get("foreach") is not None:
            yield "an operation with a foreach takes no fallback; on_failure: continue keeps the items that succeed"
        if given == ["resource"] and data.get("arguments"):
            yield "a resource takes no arguments; put them into its URI, or call a tool"

    @classmethod
    def _label(cls, data: dict[str, Any]) -> str:
        return f"operation {data['id']!r}" if isinstance(data.get("id"), str) else "operation"


def _named(paths: frozenset[Path]) -> frozenset[str]:
    return frozenset(str(path[0]) for path in paths) - RESERVED
