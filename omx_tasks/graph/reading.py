"""Graph files are written by people and language models; this turns text into plain JSON data.

YAML 1.1 would read ``14:30`` as 870, ``no`` as false and ``2024-01-01`` as a date, and would keep
the last of two equal keys. A tool's argument must arrive as it was written, so scalars follow the
YAML 1.2 core schema (which is JSON's), and a key given twice is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import yaml

from omx_tasks.errors import GraphError

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML was built without libyaml: the same, slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

MAX_DEPTH = 100
MAX_VALUES = 1_000_000


def read(text: str) -> Any:
    """Return the data that a YAML or JSON text holds. Raises GraphError with line and column."""
    try:
        if text.lstrip().startswith("{"):
            return _json_or_yaml(text)
        return _from_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise GraphError(f"{place}not valid YAML or JSON: {reason}") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise GraphError(f"not valid YAML or JSON: {reason}") from None
    except RecursionError:
        raise GraphError(f"nests deeper than {MAX_DEPTH} levels; make it flatter") from None


def plain(value: Any) -> Any:
    """Return a copy of ``value`` that is JSON and nothing else; tuples become lists.

    Raises ValueError, naming the place, for anything that JSON cannot hold, for data nested deeper
    than ``MAX_DEPTH`` and for more than ``MAX_VALUES`` values (a few lines of YAML aliases can mean
    billions).
    """
    return _Copier().copy(value, "", 0)


def shown(value: Any) -> str:
    """Return ``value`` as a short piece of one line, for messages."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class _Copier:
    """Copies one value and counts as it goes."""

    def __init__(self) -> None:
        self._count = 0

    def copy(self, value: Any, place: str, depth: int) -> Any:
        self._count += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nests deeper than {MAX_DEPTH} levels; make it flatter")
        if self._count > MAX_VALUES:
            raise ValueError(f"holds more than {MAX_VALUES} values; make it smaller")
        if isinstance(value, Mapping):
            return {
                _key(key, place): self.copy(item, f"{place}.{key}", depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.copy(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"holds {value}{_at(place)}, which JSON cannot; use a finite number")
        if value is None or isinstance(value, str | bool | int | float):
            return value
        raise ValueError(
            f"holds {shown(value)}{_at(place)}, which is not JSON; "
            "use text, numbers, true, false, null, lists and mappings"
        )


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise ValueError(
            f"has the key {shown(key)}{_at(place)}, which is not text; put it in quotes"
        )
    return key


def _at(place: str) -> str:
    return f" at {place.lstrip('.')}" if place else ""


def _json_or_yaml(text: str) -> Any:
    """Read JSON; what begins with a brace and is no JSON may still be YAML's flow style."""
    try:
        return json.loads(text, object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except json.JSONDecodeError:
        return _from_yaml(text)


def _from_yaml(text: str) -> Any:
    """Read YAML; the depth is checked first, since libyaml's binding would overflow the C stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise RecursionError
    return _Loader(text).get_single_data()


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise GraphError(f"key {key!r} is given twice in one mapping; keep one")
        result[key] = value
    return result


def _no_constant(word: str) -> NoReturn:
    raise GraphError(f"{word} is not JSON; use a finite number")


class _Loader(_SafeLoader):
    """PyYAML's safe loader with the core schema's scalars and without duplicate keys."""

    # The scalars are told below: a class attribute of its own keeps PyYAML's table untouched.
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is given twice, then do as PyYAML does."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"key {key.value!r} is given twice in one mapping; keep one"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", list("-+0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
    )
