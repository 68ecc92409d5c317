"""JSON as people write it in server files: comments and trailing commas are tolerated.

What is not JSON is blanked out with spaces, never removed, so that the line and column of a
mistake are those of the file.
"""

from __future__ import annotations

import json
import re
from typing import Any

# A string first, so that nothing inside one is taken for a comment.
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', re.DOTALL)
_NOT_NEWLINE = re.compile(r"[^\n]")


class DuplicateKeyError(ValueError):
    """One object has the same key twice, so one of the two would be lost in silence."""


def plain(text: str) -> str:
    """Return ``text`` with comments and trailing commas blanked out; positions stay the same."""
    without_comments = _TOKEN.sub(_blank_comment, text)
    return _TRAILING_COMMA.sub(lambda match: match.group(1) or " ", without_comments)


def loads(text: str) -> Any:
    """Return the value that ``text`` holds.

    Raises ``json.JSONDecodeError`` with the position in ``text``, and ``DuplicateKeyError``.
    """
    return json.loads(plain(text), object_pairs_hook=_unique)


def _blank_comment(match: re.Match[str]) -> str:
    token = match.group()
    return token if token.startswith('"') else _NOT_NEWLINE.sub(" ", token)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DuplicateKeyError(f"the key {key!r} is there twice")
        found[key] = value
    return found
