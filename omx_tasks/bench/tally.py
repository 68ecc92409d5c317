"""Counts finished tasks without touching a server: a shared file, one counter for each thread that adds.

A reader sums the counters; nobody waits for anybody. The first word of the file says how many counters are taken.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
from pathlib import Path

WORD = struct.Struct("=Q")
COUNTERS = 4095


class Tally:
    """One shared file of counters. Any number of processes and threads may `add` and read `total`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = threading.local()
        with path.open("r+b") as file:
            self._words = mmap.mmap(file.fileno(), 0)

    @classmethod
    def create(cls, path: Path) -> Tally:
        """Make a new file with every counter at zero."""
        path.write_bytes(bytes(WORD.size * (1 + COUNTERS)))
        return cls(path)

    def __repr__(self) -> str:
        return f"<Tally {self.total} by {self._taken()}>"

    def add(self) -> None:
        """Count one."""
        if getattr(self._own, "process", None) != os.getpid():
            self._own.place, self._own.process, self._own.count = self._take(), os.getpid(), 0
        self._own.count += 1
        WORD.pack_into(self._words, self._own.place, self._own.count)

    @property
    def total(self) -> int:
        """The sum of all counters."""
        taken = self._taken()
        return sum(struct.unpack_from(f"={taken}Q", self._words, WORD.size))

    def _taken(self) -> int:
        return int(WORD.unpack_from(self._words, 0)[0])

    def _take(self) -> int:
        """Take a counter of one's own and return its place in the file."""
        with self.path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            taken = self._taken()
            if taken == COUNTERS:
                raise RuntimeError(f"{self.path} has no counter left: {COUNTERS} threads have one")
            WORD.pack_into(self._words, 0, taken + 1)
        return WORD.size * (1 + taken)
