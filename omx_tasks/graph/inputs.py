"""What a graph asks of whoever runs it: declared inputs, and how a text becomes their value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from omx_tasks.errors import did_you_mean
from omx_tasks.graph.reading import plain, shown
from omx_tasks.graph.strict import Strict

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


class Input(Strict):
    """One input of a graph: without ``default`` required, with ``default: null`` optional."""

    default: Annotated[Any, BeforeValidator(plain)] = Field(None, description="a JSON value")
    type: Literal["string", "number", "integer", "boolean", "array", "object"] | None = Field(
        None, description="string, number, integer, boolean, array or object"
    )
    description: str | None = Field(None, description="a text")

    @property
    def required(self) -> bool:
        """Whether a run must be given this input."""
        return "default" not in self.model_fields_set

    def value_of(self, given: Any) -> Any:
        """Return ``given`` as a value of the declared type; a text is JSON unless a string is due.

        Without a declared type any value will do; a text that reads as a value of the default's kind
        is one: ``n: {default: 3}`` takes ``4`` for a number. Raises ValueError with the rest of a
        sentence ("must be ...").
        """
        value = plain(given)
        if self.type is None:
            return self._like_default(value)
        if self.type != "string" and isinstance(value, str):
            value = _from_json(value)
        if not _fits(self.type, value):
            form = "" if self.type == "string" else " (written as JSON)"
            raise ValueError(f"must be of type {self.type}{form}, not {shown(given)}")
        return value

    def _like_default(self, value: Any) -> Any:
        if not isinstance(value, str) or self.default is None:
            return value
        meant = _from_json(value)
        kinds = [kind for kind in ("boolean", "number", "array", "object") if _fits(kind, meant)]
        return meant if any(_fits(kind, self.default) for kind in kinds) else value

    @classmethod
    def _contradictions(cls, data: dict[str, Any]) -> Iterator[str]:
        kind, default = data.get("type"), data.get("default")
        if (
            isinstance(kind, str)
            and kind in _KINDS
            and default is not None
            and not _fits(kind, default)
        ):
            yield f"default must be of type {kind}, not {shown(default)}"


def known_inputs(name: str, inputs: Mapping[str, Input]) -> str:
    """Return the end of a sentence about the unknown input ``name``: what may have been meant."""
    known = f" Known inputs: {', '.join(inputs)}" if inputs else " The graph has no inputs"
    return did_you_mean(name, inputs) or known


def _from_json(text: str) -> Any:
    """Return what a text means as JSON; what is no JSON stays a text, which then fits no type."""
    try:
        return plain(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _fits(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _KINDS[kind])
