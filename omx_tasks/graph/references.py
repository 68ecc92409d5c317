"""``${…}``: how an operation's arguments take values from inputs and from earlier operations.

Inside is a JMESPath expression; ``$${`` is a literal ``${``. A string is read from left to right,
so a dollar sign directly before a reference is written ``${'$'}${price}``. Keys of mappings are
never references.

**Null.** JMESPath gives null for a field that is not there, and null is also what ``x.error`` and
``x.structured`` rightly are, so the two cannot be told apart at run time: a null stays a null (and
reads ``null`` inside a longer string). What can be told apart is: a name that the scope does not
hold fails the operation, and ``graph.checks`` refuses beforehand a field that no operation or
declared output has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jmespath.exceptions import (
    EmptyExpressionError,
    IncompleteExpressionError,
    JMESPathError,
    LexerError,
    ParseError,
)
from jmespath.parser import ParsedResult, Parser

from omx_tasks.errors import GraphError, OperationError
from omx_tasks.graph.paths import Path, walk
from omx_tasks.graph.reading import shown

_FAILURES = (
    JMESPathError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
"""What JMESPath lets out when an expression does not suit the data, e.g. ``'a' < 1``."""


_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True, slots=True)
class Reference:
    """One sound ``${…}``: its JMESPath text, the paths it reads and the path of its result."""

    text: str
    paths: frozenset[Path]
    result: Path | None

    @property
    def names(self) -> set[str]:
        """The names that the expression takes from the scope."""
        return {str(path[0]) for path in self.paths}


def names(value: Any) -> set[str]:
    """Return the names that all references in a nested JSON value take from the scope.

    Raises GraphError, naming the position, for a reference that cannot be compiled.
    """
    return {name for reference in references(value) for name in reference.names}


def references(value: Any) -> Iterator[Reference]:
    """Yield every reference in a nested JSON value. Raises GraphError as ``names`` does."""
    if isinstance(value, str):
        if "${" in value:
            yield from (part for part in _parts(value) if isinstance(part, Reference))
    elif isinstance(value, dict):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def single(text: str) -> Reference | None:
    """Return the reference that ``text`` is as a whole, or None. Raises GraphError as above."""
    parts = _parts(text)
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Reference) else None


def resolve(value: Any, scope: Mapping[str, Any]) -> Any:
    """Return ``value`` with its references replaced by what they mean in ``scope``.

    A string that is exactly one reference keeps the value's type; inside a longer string a string
    goes in as it is, anything else as ``json.dumps`` gives it. The result may share parts with
    ``scope``. Raises OperationError of kind ``reference``.
    """
    if isinstance(value, str):
        return _filled(value, scope)
    if isinstance(value, dict):
        return {key: resolve(item, scope) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, scope) for item in value]
    return value


def evaluate(text: str, scope: Mapping[str, Any]) -> Any:
    """Return the value of a string that is exactly one reference, such as a ``foreach``.

    Raises OperationError of kind ``reference``, also where the string is anything else.
    """
    parts = _parts_at_run_time(text)
    if len(parts) != 1 or not isinstance(parts[0], Reference):
        raise OperationError("reference", f"{shown(text)} must be exactly one ${{…}}")
    return _value(parts[0], scope)


def _filled(text: str, scope: Mapping[str, Any]) -> Any:
    parts = _parts_at_run_time(text)
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return _value(parts[0], scope)
    return "".join(
        part if isinstance(part, str) else _as_text(_value(part, scope)) for part in parts
    )


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _value(reference: Reference, scope: Mapping[str, Any]) -> Any:
    for name in reference.names:
        if name not in scope:
            raise OperationError(
                "reference", f"${{{reference.text}}}: there is no value for {name!r}"
            )
    try:
        return _parsed(reference.text).search(scope)
    except _FAILURES as error:
        reason = " ".join(str(error).split())
        raise OperationError("reference", f"${{{reference.text}}}: {reason}") from error


def _parts_at_run_time(text: str) -> tuple[str | Reference, ...]:
    try:
        return _parts(text)
    except GraphError as error:
        raise OperationError("reference", str(error)) from error


def _parts(text: str) -> tuple[str | Reference, ...]:
    """Return the literal pieces and references of a text; plain texts stay out of the cache."""
    return _compiled_parts(text) if "${" in text else (text,)


@lru_cache(maxsize=16384)
def _compiled_parts(text: str) -> tuple[str | Reference, ...]:
    parts: list[str | Reference] = []
    literal, position = "", 0
    while (dollar := text.find("${", position)) >= 0:
        if dollar > position and text[dollar - 1] == "$":
            literal += text[position : dollar - 1] + "${"
            position = dollar + 2
            continue
        literal += text[position:dollar]
        end = _closing_brace(text, dollar + 2)
        if literal:
            parts.append(literal)
        parts.append(_compiled(text, dollar + 2, end))
        literal, position = "", end + 1
    literal += text[position:]
    return (*parts, literal) if literal else tuple(parts)


def _closing_brace(text: str, start: int) -> int:
    """Return where a reference ends, past JMESPath's own quotes and braces."""
    depth, quote, position = 1, "", start
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "'\"`":
            quote = character
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return position
        position += 1
    raise _bad(text, start - 2, f"the quote {quote} is never closed" if quote else "it lacks its }")


@lru_cache(maxsize=16384)
def _parsed(expression: str) -> ParsedResult:
    return Parser().parse(expression)


def _compiled(text: str, start: int, end: int) -> Reference:
    expression = text[start:end]
    if _DOTTED.fullmatch(expression):  # nearly all are, and need no parser to be understood
        path = tuple(expression.split("."))
        return Reference(expression, frozenset(path[:n] for n in range(1, len(path) + 1)), path)
    try:
        return Reference(expression, *walk(cast(dict[str, Any], _parsed(expression).parsed)))
    except EmptyExpressionError:
        raise _bad(text, start, "it is empty") from None
    except LexerError as error:
        raise _bad(text, start + error.lexer_position, error.message) from None
    except IncompleteExpressionError:
        raise _bad(text, end, "it ends too early") from None
    except ParseError as error:
        raise _bad(text, start + error.lex_position, error.msg) from None
    except RecursionError:
        raise _bad(text, start, "it nests too deeply") from None
    except ValueError as error:
        raise _bad(text, start, f"it {error}") from None


def _bad(text: str, offset: int, reason: str) -> GraphError:
    reason = " ".join(reason.split())
    return GraphError(f"bad reference in {shown(text)}, character {offset + 1}: {reason}")
