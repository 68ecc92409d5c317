"""What was asked for and what was done, side by side: the producer's book, and the one that the server keeps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """Counts of one load. ``lost``: said to be done and not done, or not brought to an end."""

    operations: int = 0
    lost: list[str] = field(default_factory=list)
    repeated_reads: int = 0
    repeated_writes: list[str] = field(default_factory=list)
    unknown_writes: int = 0

    def __str__(self) -> str:
        return (
            f"{self.operations} operations, lost {len(self.lost)}, writes done twice {len(self.repeated_writes)}, "
            f"writes unknown {self.unknown_writes}, reads done again {self.repeated_reads}"
        )


def compare(asked: list[list[str]], done: Counter[str]) -> Ledger:
    """Compare ``[key, tool, state]`` of each operation with how often ``TOOL KEY`` was done."""
    ledger = Ledger(operations=len(asked))
    for key, tool, state in asked:
        times = done[f"{tool} {key}"]
        if tool == "write" and state == "unknown":
            ledger.unknown_writes += 1
        elif state != "succeeded" or times == 0:
            ledger.lost.append(f"{tool} {key}: {state}, done {times} times")
        if times > 1 and tool == "write":
            ledger.repeated_writes.append(key)
        elif times > 1:
            ledger.repeated_reads += 1
    return ledger
