"""The graph as users and models write it, in Python, YAML or JSON: operations and what each needs.

What one object can say about itself is checked here; what needs the whole graph (ids, cycles) or a
server's catalogue is checked in ``graph.checks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field

from omx_tasks.errors import GraphError
from omx_tasks.graph.collector import at_rest
from omx_tasks.graph.inputs import Input, known_inputs
from omx_tasks.graph.limits import MAX_BYTES, MAX_OPERATIONS, too_large
from omx_tasks.graph.operation import NAME, Operation, Word
from omx_tasks.graph.reading import plain, read, shown
from omx_tasks.graph.strict import Strict, ToldError, prefixed

__all__ = ["Graph", "Input", "Operation", "bind_inputs"]


def _operations(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list of operations, not {shown(value)}")
    if len(value) > MAX_OPERATIONS:
        raise ValueError(
            f"must be at most {MAX_OPERATIONS:,}, not {len(value):,}; use a foreach, or several graphs"
        )
    built, problems = [], []
    for index, item in enumerate(value):
        try:
            built.append(_operation(item))
        except GraphError as error:
            lines = str(error).splitlines()
            problems += [line.replace("operation: ", f"operations[{index}]: ", 1) for line in lines]
    if problems:
        raise ToldError("\n".join(problems))
    return tuple(built)


def _operation(item: Any) -> Operation:
    if isinstance(item, Operation):
        return item
    if not isinstance(item, Mapping):
        raise GraphError(
            "operation: must be a mapping with id, server and a tool, resource or prompt, "
            f"not {shown(item)}"
        )
    return Operation(**item)


def _refuse_large(source: str | Path, size: int) -> None:
    if problem := too_large("has", size, MAX_BYTES):
        raise GraphError(f"{source}: {problem}")


def _inputs(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a mapping of names to inputs, not {shown(value)}")
    built, problems = {}, []
    for name, item in value.items():
        try:
            built[name] = _input(name, item)
        except GraphError as error:
            problems.append(prefixed(f"input {name!r}", [str(error)]))
    if problems:
        raise ToldError("\n".join(problems))
    return built


def _input(name: str, item: Any) -> Input:
    if isinstance(item, Input):
        return item
    if not isinstance(item, Mapping):
        raise GraphError(
            f"must be a mapping: write {name}: {{default: …}}, or {name}: {{}} where it is required"
        )
    return Input(**item)


class Graph(Strict):
    """Operations and what each needs: ``Graph(name="x", operations=[Operation(...)])``."""

    name: Word = Field(max_length=200, description="a text of 1 to 200 characters on one line")
    description: str | None = Field(None, description="a text")
    inputs: Annotated[
        dict[Annotated[str, Field(pattern=NAME)], Input], BeforeValidator(_inputs)
    ] = Field(
        default={},
        description="a mapping from names (letters, digits and _, no digit first) to inputs",
    )
    timeout: float | None = Field(
        None, gt=0, allow_inf_nan=False, strict=True, description="a number of seconds above 0"
    )
    operations: Annotated[tuple[Operation, ...], BeforeValidator(_operations)] = Field(
        description="a list of operations"
    )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the graph in a YAML or JSON file. Raises GraphError that names the file."""
        try:
            _refuse_large(path, Path(path).stat().st_size)
            text = Path(path).read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise GraphError(f"{path}: there is no such file") from None
        except UnicodeDecodeError:
            raise GraphError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
        except OSError as error:
            raise GraphError(f"{path}: cannot be read: {error.strerror}") from None
        return cls.parse(text, source=str(path))

    @classmethod
    @at_rest()
    def parse(cls, text: str, source: str = "<text>") -> Self:
        """Return the graph in a YAML or JSON text. Raises GraphError that names ``source``."""
        _refuse_large(source, len(text))
        try:
            data = read(text)
        except GraphError as error:
            raise GraphError(prefixed(source, [str(error)])) from None
        return cls.from_data(data, source)

    @classmethod
    @at_rest()
    def from_data(cls, data: Any, source: str = "") -> Self:
        """Return the graph in plain data. Raises GraphError that tells all problems."""
        try:
            copy = plain(data)
            if not isinstance(copy, dict):
                raise GraphError(
                    f"a graph must be a mapping with name and operations, not {shown(data)}"
                )
            return cls(**copy)
        except GraphError as error:
            raise GraphError(prefixed(source, [str(error)])) from None
        except ValueError as error:
            raise GraphError(prefixed(source, [f"the graph {error}"])) from None

    def to_data(self) -> dict[str, Any]:
        """Return JSON data that ``from_data`` turns into an equal graph; defaults are left out."""
        data = self.model_dump(mode="json", exclude={"inputs"}, exclude_defaults=True)
        if self.inputs:
            data["inputs"] = {
                name: declared.model_dump(mode="json", exclude_unset=True)
                for name, declared in self.inputs.items()
            }
        return data


def bind_inputs(graph: Graph, given: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    """Return the value of every input: the given one, converted to its type, or the default.

    Texts (from ``--input K=V``) are read as JSON where a type other than string is declared, and as
    what the default is where none is. Raises GraphError for unknown, missing and unsuitable ones,
    all at once; ``source`` begins each line.
    """
    problems = [
        f"unknown input {name!r}.{known_inputs(name, graph.inputs)}"
        for name in given
        if name not in graph.inputs
    ]
    values: dict[str, Any] = {}
    for name, declared in graph.inputs.items():
        try:
            if name in given:
                values[name] = declared.value_of(given[name])
            elif declared.required:
                problems.append(
                    f"input {name!r} is missing and has no default; give it (--input {name}=VALUE)"
                )
            else:
                values[name] = declared.default
        except ValueError as error:
            problems.append(f"input {name!r} {error}")
    if problems:
        raise GraphError(prefixed(source or f"graph {graph.name!r}", problems))
    return values
