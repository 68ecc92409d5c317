"""The four priorities, from P0 (now) to P3 (whenever)."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """How soon something is wanted; a smaller number goes first.

    The number is the ``priority`` property of a Celery message. A message without one is P2, and
    numbers above 3 (Celery allows 0 to 255) count as P3.
    """

    P0 = 0
    P1 = 1
    P2 = 2
    P3 = 3

    @classmethod
    def of(cls, number: int | None) -> Priority:
        """Return the priority of a message whose ``priority`` property is ``number``."""
        if number is None:
            return cls.P2
        return cls(min(max(int(number), 0), 3))
