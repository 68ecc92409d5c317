"""How large a graph may be: what is far beyond any use is refused with a sentence, not with a full memory."""

from __future__ import annotations

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of a graph file, and of the document that a run keeps: graph and inputs together."""

MAX_OPERATIONS = 100_000
"""Operations of one graph."""

MAX_ARGUMENTS = 1024 * 1024
"""Bytes of one operation's arguments, as JSON, before references are filled in."""


def too_large(what: str, size: int, most: int) -> str | None:
    """Return the sentence about something that has more bytes than it may have, or None."""
    return f"{what} {size:,} bytes; at most {most:,} are allowed" if size > most else None
