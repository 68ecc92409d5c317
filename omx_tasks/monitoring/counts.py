"""What is counted of something in a while: how often it was, how often it failed, how long it took and waited."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Count:
    """Counts that can be added. ``calls`` and ``waits`` are histograms (see `histogram`), ``seconds`` the sum of calls.

    ``attempts`` are all that were made for ``number``, so it is more where something had to be tried again.
    """

    number: int = 0
    failed: int = 0
    attempts: int = 0
    seconds: float = 0.0
    calls: Counter[int] = field(default_factory=Counter)
    waits: Counter[int] = field(default_factory=Counter)

    def add(self, other: Count) -> None:
        """Take in another count."""
        self.number += other.number
        self.failed += other.failed
        self.attempts += other.attempts
        self.seconds += other.seconds
        self.calls.update(other.calls)
        self.waits.update(other.waits)

    def as_json(self) -> dict[str, Any]:
        """Return what the store keeps: only what is not nothing, under one letter each, since it is kept often."""
        fields = {
            "n": self.number,
            "f": self.failed,
            "a": self.attempts,
            "s": round(self.seconds, 6),
            "c": self.calls,
            "w": self.waits,
        }
        return {name: value for name, value in fields.items() if value}

    @classmethod
    def read(cls, text: bytes | str) -> Count:
        """Read what the store has kept."""
        data = json.loads(text)
        calls, waits = (
            Counter({int(bucket): count for bucket, count in data.get(name, {}).items()})
            for name in "cw"
        )
        number, failed, attempts = (int(data.get(name, 0)) for name in "nfa")
        return cls(number, failed, attempts, float(data.get("s", 0)), calls, waits)
