"""Which queue an operation goes to: one queue for each set of capabilities that operations require."""

from __future__ import annotations

from collections.abc import Iterable

PREFIX = "omx."


def set_name(capabilities: Iterable[str]) -> str:
    """Return a capability set as one word: its words, sorted, joined by ``+``."""
    return "+".join(sorted(capabilities))


def queue_of(capabilities: Iterable[str]) -> str:
    """Return the queue of the operations that require exactly these capabilities."""
    return PREFIX + set_name(capabilities)


def words_of(name: str) -> frozenset[str]:
    """Return the words of a capability set."""
    return frozenset(name.split("+"))
