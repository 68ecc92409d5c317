"""What a graph is made of refuses mistakes in this product's words, all of them at once.

Pydantic checks; its own texts speak of types and links to its manual, so each problem is told again
with the key, what the key must be (the field's ``description``) and what was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from omx_tasks.errors import GraphError, did_you_mean
from omx_tasks.graph.reading import shown


class ToldError(ValueError):
    """Raised by a validator whose text is already one finished sentence per line."""


class Strict(BaseModel):
    """A frozen model without unknown keys. Constructing it wrongly raises GraphError."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, /, **data: Any) -> None:
        problems: list[str] = []
        try:
            super().__init__(**data)
        except ValidationError as error:
            problems += (_sentence(detail, type(self), data) for detail in error.errors())
        problems += self._contradictions(data)
        if problems:
            raise GraphError(prefixed(self._label(data), problems))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some keys changed, checked as a new one is."""
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        copied = type(self)(**{**kept, **(update or {})})
        return deepcopy(copied) if deep else copied

    @classmethod
    def _contradictions(cls, data: dict[str, Any]) -> Iterator[str]:  # noqa: ARG003
        """Yield problems between keys; they are told even where single keys are wrong too."""
        yield from ()

    @classmethod
    def _label(cls, data: dict[str, Any]) -> str:  # noqa: ARG003
        """Return what every line of an error begins with."""
        return ""


def prefixed(label: str, problems: Iterable[str]) -> str:
    """Return the problems, one a line, each after ``label: ``; a repeated one is told once."""
    start = f"{label}: " if label else ""
    lines = (line for problem in problems for line in problem.splitlines())
    return "\n".join(dict.fromkeys(f"{start}{line}" for line in lines))


def _sentence(detail: ErrorDetails, model: type[BaseModel], data: dict[str, Any]) -> str:
    key = str(detail["loc"][0]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        return f"unknown key {key!r}." + (
            did_you_mean(key, model.model_fields) or f" Known keys: {known}"
        )
    meaning = model.model_fields[key].description
    if detail["type"] == "missing":
        return f"key {key!r} is missing; give {meaning}"
    if detail["type"] == "value_error":
        error = detail["ctx"]["error"]
        return str(error) if isinstance(error, ToldError) else f"{key} {error}"
    return f"{key} must be {meaning}, not {shown(data[key])}"
