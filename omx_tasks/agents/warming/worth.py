"""Which warm servers an agent closes first: those whose memory buys the least.

What a warm server is worth is the time that it is expected to save, for the memory that it takes (FaasCache's
keep-alive): how often it is called, times what it takes to open it, by the bytes of its processes. What is called
counts half as much each time that `HALF` seconds have passed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Seconds in which a call loses half of its weight.
HALF = 300.0


class Frequency:
    """How often something happened lately: each time counts 1, and less and less."""

    def __init__(self) -> None:
        self._count = 0.0
        self._at = 0.0

    def add(self, now: float) -> None:
        """Count one more."""
        self._count, self._at = self.at(now) + 1.0, now

    def at(self, now: float) -> float:
        """Return what is left of the count."""
        return self._count * 0.5 ** ((now - self._at) / HALF) if self._count else 0.0


@dataclass(frozen=True)
class Candidate:
    """A warm server that may be closed: calls lately, seconds to open it, bytes."""

    server: str
    frequency: float
    cold: float
    memory: int

    @property
    def worth(self) -> float:
        """Seconds saved per byte."""
        return self.frequency * self.cold / max(1, self.memory)


def to_close(candidates: Iterable[Candidate], excess: int) -> list[str]:
    """Return which to close, the least worth one first, until so many bytes are free or none is left."""
    closing = []
    for one in sorted(candidates, key=lambda one: (one.worth, -one.memory, one.server)):
        if excess <= 0:
            break
        closing.append(one.server)
        excess -= one.memory
    return closing
