"""The arguments of a call held against its tool's input schema, before the values of references are known.

A value that is one reference may turn out to be anything, and a text that holds references is at least a text. What
would depend on more than that is not told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any

from jsonschema import exceptions, validators
from jsonschema.protocols import Validator
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from omx_tasks.errors import did_you_mean
from omx_tasks.graph import references
from omx_tasks.graph.reading import shown

_CERTAIN = frozenset(
    (
        *("type", "required", "additionalProperties", "dependentRequired", "propertyNames"),
        *("minItems", "maxItems", "minProperties", "maxProperties"),
    )
)
"""What can be said of a list or mapping although a value inside is not known."""

_CONDITIONAL = frozenset(("then", "else", "dependentSchemas", "dependencies"))
"""Schemas that count only where another one fits."""

_LONGEST = 200
_COMPILED = 1000
"""Schemas that are kept compiled: that costs a millisecond or more each, which is a third of submitting one call."""


class _Anything:
    """The value of a reference; it is shown as that was written."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return repr(self._text)


class _Text(str):
    """A text that holds references; it is shown as it was written."""


class Schema:
    """One tool's input schema. It is prepared when it is first needed; one that is itself broken checks nothing."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema

    def problems(self, arguments: Mapping[str, Any], tool: str) -> Iterator[str]:
        """Yield what is certainly wrong; the names on the outermost level are the caller's matter."""
        known = {name: _known(value) for name, value in arguments.items()}
        if all(isinstance(value, _Anything) for value in known.values()):
            return
        if self._validator is None:
            return
        try:
            found = list(self._validator.iter_errors(known))
        except (Unresolvable, RecursionError):
            return
        open_ended = _is_open(known)
        certain = [one for one in found if not (open_ended and _depends(one))]
        yield from dict.fromkeys(_told(_leaf(one), tool) for one in certain if not _outermost(one))

    @cached_property
    def _validator(self) -> Validator | None:
        return _compiled(json.dumps(self._schema))


@lru_cache(maxsize=_COMPILED)
def _compiled(text: str) -> Validator | None:
    """Return what checks values by a schema: whoever submits graphs asks for the same few again and again."""
    schema = json.loads(text)
    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except (exceptions.SchemaError, Unresolvable, RecursionError):
        return None
    # Without a registry of its own, jsonschema would fetch remote references over the network.
    return kind(schema, registry=EMPTY_REGISTRY)


def _known(value: Any) -> Any:
    """Return what is known of a value before its references are."""
    if isinstance(value, str):
        if "${" not in value:
            return value
        if references.single(value) is not None:
            return _Anything(value)
        return _Text(value) if any(references.references(value)) else references.resolve(value, {})
    if isinstance(value, Mapping):
        return {key: _known(item) for key, item in value.items()}
    return [_known(item) for item in value] if isinstance(value, list | tuple) else value


def _is_open(value: Any) -> bool:
    """Whether a value holds anything that is not known yet."""
    if isinstance(value, Mapping):
        return any(map(_is_open, value.values()))
    if isinstance(value, list):
        return any(map(_is_open, value))
    return isinstance(value, _Anything | _Text)


def _depends(error: exceptions.ValidationError) -> bool:
    """Whether an error may go away with the values of references."""
    if _CONDITIONAL.intersection(map(str, error.absolute_schema_path)):
        return True
    if isinstance(error.instance, _Text):
        return error.validator != "type"
    if isinstance(error.instance, _Anything):
        return True
    return error.validator not in _CERTAIN and _is_open(error.instance)


def _outermost(error: exceptions.ValidationError) -> bool:
    """Whether an error is about the names of the arguments."""
    names = ("required", "additionalProperties")
    return not error.absolute_path and len(error.schema_path) == 1 and error.validator in names


def _leaf(error: exceptions.ValidationError) -> exceptions.ValidationError:
    """Return what is wrong in the alternative that fits best, where there is such a one."""
    best = exceptions.best_match(iter([error]))
    return best if isinstance(best, exceptions.ValidationError) else error


# --- in words ---------------------------------------------------------------------------------------


def _told(error: exceptions.ValidationError, tool: str) -> str:
    if not error.absolute_path:
        return f"the arguments of tool {tool!r} do not fit its schema: {_cut(error.message)}"
    return f"argument {_place(error)} of tool {tool!r} {_reason(error)}"


def _place(error: exceptions.ValidationError) -> str:
    name, *rest = error.absolute_path
    return repr(f"{name}" + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in rest))


def _reason(error: exceptions.ValidationError) -> str:
    given: Any = error.instance
    wanted: Any = error.validator_value
    if kinds := _kinds(error):
        return f"must be {' or '.join(kinds)}, not {shown(given)}"
    if error.validator == "enum":
        return f"must be one of {_cut(str(wanted))}, not {shown(given)}{_meant(given, wanted)}"
    if error.validator == "required":
        lacking = [repr(name) for name in wanted if name not in given]
        return f"lacks {', '.join(lacking)}; add {'it' if len(lacking) == 1 else 'them'}"
    if error.validator == "additionalProperties" and wanted is False:
        return "; ".join(_unknown_keys(error))
    return f"does not fit its schema: {_cut(error.message)}"


def _kinds(error: exceptions.ValidationError) -> list[str]:
    """Return the types that are wanted, where nothing but the type is wrong, of all alternatives if there are any."""
    if error.validator == "type":
        wanted: Any = error.validator_value
        return [wanted] if isinstance(wanted, str) else list(wanted)
    inner = [_kinds(one) if not one.relative_path else [] for one in error.context or ()]
    return list(dict.fromkeys(kind for kinds in inner for kind in kinds)) if all(inner) else []


def _unknown_keys(error: exceptions.ValidationError) -> Iterator[str]:
    given: Any = error.instance
    schema: Any = error.schema
    known = list(schema.get("properties", ()))
    patterns = schema.get("patternProperties", ())
    for key in given:
        if key not in known and not any(re.search(pattern, key) for pattern in patterns):
            hint = did_you_mean(key, known) or f" It takes: {', '.join(known) or 'none'}"
            yield f"has no key {key!r}.{hint}"


def _meant(given: Any, words: list[Any]) -> str:
    if not isinstance(given, str):
        return ""
    hint = did_you_mean(given, [word for word in words if isinstance(word, str)])
    return hint and f".{hint}"


def _cut(text: str) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
