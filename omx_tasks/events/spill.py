"""Events on disk while the broker is away: an append-only file of JSON lines, a batch a line, sent in their order.

A process appends to a file of its own, locked as long as it lives; whatever it leaves behind when it ends is adopted by
the next process that publishes from the same folder. A line keeps its producer, its partition and its number, so a
batch that had been stored before all the same is known there, and not stored twice. A half-written last line is
what its writer died at: it was never accepted, and is left out.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from omx_tasks.errors import ConfigurationError
from omx_tasks.events.log import Entry

logger = logging.getLogger(__name__)

_SUFFIX = ".events.jsonl"


@dataclass(frozen=True)
class Batch:
    """What one script stores: a producer's batch of a number, for a partition."""

    producer: str
    number: int
    partition: int
    entries: tuple[Entry, ...]
    unknown: int = 0

    def line(self) -> bytes:
        """Return the batch as a line of JSON."""
        form = [self.producer, self.number, self.partition, self.unknown, self.entries]
        return json.dumps(form, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Batch:
        """Read a line; raises `ValueError` for one that is not whole."""
        producer, number, partition, unknown, entries = json.loads(line)
        return cls(producer, number, partition, tuple(Entry(*entry) for entry in entries), unknown)


class Spill:
    """The files of one folder: ours to append to, and those that others left."""

    def __init__(self, folder: Path, name: str) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            own = _lock(folder / f"{name}{_SUFFIX}")
        except OSError as error:
            raise ConfigurationError(
                f"cannot write to {folder}, where events are kept while the broker is away: {error.strerror}; "
                "name another folder with OMX_EVENTS_SPILL"
            ) from error
        if own is None:
            raise ConfigurationError(f"{folder}/{name}{_SUFFIX} belongs to another process")
        self._file = own
        self._folder = folder
        self._sources: list[IO[bytes]] = [*self._adopted(), self._file]
        self._read = 0
        self._head: Batch | None = None

    def __repr__(self) -> str:
        return f"<Spill {self._folder} empty={self.empty}>"

    def _adopted(self) -> Iterator[IO[bytes]]:
        for path in sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime):
            if path != Path(self._file.name) and (left := _lock(path)):
                logger.warning("sending the events that a process left in %s", path)
                yield left

    def append(self, batch: Batch) -> None:
        """Keep a batch; when this returns, it outlives this process. Raises `OSError`, and has kept nothing then."""
        whole = self._file.seek(0, os.SEEK_END)
        try:
            os.write(self._file.fileno(), batch.line())
        except OSError:
            self._file.truncate(whole)
            raise

    @property
    def empty(self) -> bool:
        """Whether all batches were sent."""
        return self.head() is None

    def head(self) -> Batch | None:
        """Return the batch that is to be sent first."""
        while self._head is None and self._sources:
            source = self._sources[0]
            source.seek(self._read)
            line = source.readline()
            if line.endswith(b"\n"):
                self._head = _batch(line, source.name)
                if self._head is None:
                    self._read = source.tell()
            elif len(self._sources) == 1:
                return None
            else:
                _remove(self._sources.pop(0))
                self._read = 0
        return self._head

    def sent(self) -> None:
        """Forget the first batch: it is stored. The file goes when that was all."""
        source = self._sources[0]
        source.seek(self._read)
        source.readline()
        self._read, self._head = source.tell(), None
        if len(self._sources) == 1 and self.empty:
            source.seek(0)
            source.truncate()
            self._read = 0

    def forget(self) -> None:
        """In a forked process: leave the files to the parent."""
        for source in self._sources:
            source.close()

    def close(self) -> None:
        """Leave the file to the next process, or remove it where nothing is in it."""
        nothing_left = self.empty
        for source in self._sources:
            if nothing_left:
                _remove(source)
            else:
                source.close()
        self._sources = []


def _lock(path: Path) -> IO[bytes] | None:
    """Open a file that no living process has; None where one does, or it is gone."""
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _batch(line: bytes, name: str) -> Batch | None:
    try:
        return Batch.read(line)
    except (ValueError, TypeError):
        logger.error("a line of %s is no batch of events, and is left out: %.100r", name, line)
        return None


def _remove(source: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        Path(source.name).unlink()
    source.close()
