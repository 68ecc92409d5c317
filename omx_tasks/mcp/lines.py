"""The lines that a server writes: gathered within a limit, and told apart without being parsed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

# Of our own, in the range that JSON-RPC leaves to implementations: the answer was longer than is allowed.
TOO_LARGE = -32091
# Bytes that are kept of either end of a line that is too long.
END = 200
# Notifications that may come at once, and a second.
BURST, RATE = 200, 100

# Notifications that are kept beyond that, and the bytes of the largest.
MOST_KEPT, LARGEST_KEPT = 1000, 10_000

# What a progress notification is about; a text or a number.
_TOKEN = re.compile(rb'"progressToken"\s*:\s*("[^"]*"|\d+)')
# The method of a message is near its beginning; inside a text its quotes would be escaped.
_NOTIFICATION = re.compile(rb'"method"\s*:\s*"notifications/')
# The id of an answer is before its result, or behind it.
_FIRST_ID = re.compile(rb'^\s*\{(?:\s*"jsonrpc"\s*:\s*"2\.0"\s*,)?\s*"id"\s*:\s*(\d{1,15})\s*,')
_LAST_ID = re.compile(rb',\s*"id"\s*:\s*(\d{1,15})\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')


class Line:
    """A line that comes in parts. Of one that is longer than ``limit`` only the ends are kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._length = 0
        self._head = self._tail = b""

    def add(self, part: bytes) -> None:
        """Add what came."""
        self._length += len(part)
        if self._length <= self._limit:
            self._parts.append(part)
            return
        if self._parts:
            self._head = b"".join(self._parts)
            self._tail, self._head = self._head[-END:], self._head[:END]
            self._parts = []
        self._head = (self._head + part[:END])[:END]
        self._tail = (self._tail + part)[-END:]

    def end(self) -> tuple[bytes, int]:
        """Return the line (or its ends) and how long it was, and begin the next."""
        line = b"".join(self._parts).strip() if self._length <= self._limit else self._ends()
        length, self._length = self._length, 0
        self._parts = []
        self._head = self._tail = b""
        return line, length

    def _ends(self) -> bytes:
        return self._head + b"\n" + self._tail


class Allowance:
    """So many at once, and so many a second: a bucket of tokens."""

    def __init__(
        self,
        burst: float = BURST,
        rate: float = RATE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left = self._burst = burst
        self._rate = rate
        self._clock = clock
        self._at = clock()

    def take(self) -> bool:
        """Whether one more is allowed now."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Notifications:
    """Lets notifications through at a rate; of the others the newest of each token is kept, for it may be the last."""

    def __init__(self, allowance: Allowance | None = None) -> None:
        self._allowance = allowance or Allowance()
        self._kept: dict[bytes, bytes] = {}

    def let_through(self, line: bytes) -> bool:
        """Whether this one is handled now; else it is kept in place of an older one."""
        token = _TOKEN.search(line)
        name = token[1] if token else b""
        if self._allowance.take():
            self._kept.pop(name, None)
            return True
        if len(line) <= LARGEST_KEPT and (name in self._kept or len(self._kept) < MOST_KEPT):
            self._kept[name] = line
        return False

    def kept(self) -> list[bytes]:
        """Return what was kept, and forget it: something else comes, which may end what they are about."""
        lines = list(self._kept.values())
        self._kept.clear()
        return lines


def is_notification(line: bytes) -> bool:
    """Whether a message asks for no answer and is none."""
    return _NOTIFICATION.search(line, 0, END) is not None


def answered_by(ends: bytes) -> int | None:
    """Return the id of the request that a message of these ends answers, where it can be told."""
    head, _, tail = ends.partition(b"\n")
    found = _FIRST_ID.search(head) or _LAST_ID.search(tail)
    return int(found[1]) if found else None
