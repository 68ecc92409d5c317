"""What is counted of something in a while: how often it was, how often it failed, how long it took and waited."""

from __future__ import annotations

from dataclasses import dataclass, field

from omx_tasks.monitoring import histogram, numbers


@dataclass(slots=True)
class Count:
    """Counts that can be added. ``calls`` and ``waits`` are histograms (see `histogram`), ``seconds`` the sum of calls.

    ``attempts`` are all that were made for ``number``, so it is more where something had to be tried again.
    """

    number: int = 0
    failed: int = 0
    attempts: int = 0
    seconds: float = 0.0
    calls: dict[int, int] = field(default_factory=dict)
    waits: dict[int, int] = field(default_factory=dict)

    def add(self, other: Count) -> None:
        """Take in another count."""
        self.number += other.number
        self.failed += other.failed
        self.attempts += other.attempts
        self.seconds += other.seconds
        histogram.add(self.calls, other.calls)
        histogram.add(self.waits, other.waits)

    def packed(self) -> bytes:
        """Return what the store keeps: small, since there is one for each minute and name."""
        calls = histogram.as_row(self.calls)
        sums = (self.number, self.failed, self.attempts, round(self.seconds * 1e6), len(calls))
        return numbers.pack([*sums, *calls, *histogram.as_row(self.waits)])

    @classmethod
    def read(cls, packed: bytes) -> Count:
        """Read what the store has kept."""
        number, failed, attempts, micros, length, *rows = numbers.unpack(packed)
        calls, waits = histogram.of_row(rows[:length]), histogram.of_row(rows[length:])
        return cls(number, failed, attempts, micros / 1e6, calls, waits)
