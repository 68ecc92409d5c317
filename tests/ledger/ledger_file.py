"""A ledger outside of all brokers: each thing that a task body did is one line, written in one go."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """A line: what happened to which message, in which process, at which monotonic second."""

    number: int
    event: str
    pid: int
    at: float


class Ledger:
    """Any process may `note`; a reader sees whole lines only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_to = 0
        self._entries: list[Entry] = []

    def __repr__(self) -> str:
        return f"<Ledger {self.path} entries={len(self._entries)}>"

    def note(self, number: int, event: str = "ran") -> None:
        """Add a line; one append is one write, which no other process can divide."""
        line = f"{number} {event} {os.getpid()} {time.monotonic():.6f}\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def entries(self) -> list[Entry]:
        """Return all lines in the order in which they were written."""
        self._entries += self._fresh()
        return self._entries

    def counts(self, event: str = "ran") -> Counter[int]:
        """Return how often this happened to each message."""
        return Counter(entry.number for entry in self.entries() if entry.event == event)

    def _fresh(self) -> Iterator[Entry]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            whole = file.read().rpartition(b"\n")[0]
        self._read_to += len(whole) + bool(whole)
        for line in whole.decode().splitlines():
            number, event, pid, at = line.split()
            yield Entry(int(number), event, int(pid), float(at))
