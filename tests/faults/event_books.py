"""The books of events, files outside of the cluster: what publishers were told, what handlers did; and the comparison.

A publisher's book has a line for each event that it was told is accepted, and for all that it was told is stored
(``flush``). What is *accepted* is everything before such a line, and everything where the publisher ended in order.
What a publisher was killed with in its buffer nobody was told is stored: those events are *cut off* where they were
not handled.

Events of one key and priority have rising numbers. An event is *out of order* where its first handling came after that
of a later one. A repeated handling is no matter of order: it is counted as *twice*.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

#: The environment variable that says where the books are.
BOOKS = "EVENT_BOOKS"
#: Publishers of all kinds.
ALL = "*"
STORED, ENDED, SAID, REFUSED = "stored", "ended", "said", "refused"


class Name(NamedTuple):
    """An event, as both sides know it."""

    key: str
    priority: int
    number: int


class Handled(NamedTuple):
    """One handling of an event, at a monotonic second."""

    name: Name
    at: float


class Book:
    """A file to which one process appends: a write is whole, whatever becomes of the process."""

    def __init__(self, kind: str, folder: Path | None = None) -> None:
        folder = folder or Path(os.environ[BOOKS])
        path = folder / f"{kind}-{os.getpid()}"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, *lines: str) -> None:
        os.write(self._descriptor, "".join(f"{line}\n" for line in lines).encode())


@dataclass
class Published:
    """What publishers say. ``said`` is what each said at its end, ``waited`` the longest time of one publish."""

    accepted: set[Name] = field(default_factory=set)
    unsure: set[Name] = field(default_factory=set)
    poison: set[Name] = field(default_factory=set)
    refused: int = 0
    waited: float = 0.0
    said: Counter[str] = field(default_factory=Counter)

    def keys(self) -> set[str]:
        """Return the keys of all events: no two publishers have one together."""
        return {name.key for name in self.accepted | self.unsure}

    def read(self, path: Path) -> None:
        """Take in one book."""
        told: list[Name] = []
        stored = 0
        for word, *rest in _lines(path):
            if word == STORED:
                stored = max(stored, int(rest[0]))
            elif word == ENDED:
                stored = len(told)
            elif word == REFUSED:
                self.refused += int(rest[0])
                self.waited = max(self.waited, float(rest[1]))
            elif word == SAID:
                self.said += Counter(json.loads(" ".join(rest)))
            else:
                name = Name(word, int(rest[0]), int(rest[1]))
                told.append(name)
                self.waited = max(self.waited, float(rest[2]))
                if rest[3:] == ["poison"]:
                    self.poison.add(name)
        self.accepted |= set(told[:stored])
        self.unsure |= set(told[stored:])


def published(folder: Path, kind: str = ALL) -> Published:
    """Read what all publishers of a kind say."""
    found = Published()
    for path in folder.glob(f"published-{kind}-*"):
        found.read(path)
    return found


def told(folder: Path) -> int:
    """Return roughly how many events publishers were told are accepted, or stored; cheaply."""
    return sum(path.read_bytes().count(b"key-") for path in folder.glob("published-*"))


def handled(folder: Path) -> list[Handled]:
    """Read what all handlers did, in the order of time."""
    found = [
        Handled(Name(key, int(priority), int(number)), float(at))
        for path in folder.glob("handled-*")
        for key, priority, number, at in _lines(path)
    ]
    return sorted(found, key=lambda one: one.at)


def _lines(path: Path) -> Iterator[list[str]]:
    """Yield the words of each whole line."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    for line in whole.decode().splitlines():
        yield line.split(" ")


@dataclass(frozen=True)
class Verdict:
    """The books side by side."""

    accepted: int
    handled: int
    lost: int
    twice: int
    out_of_order: int
    dead: int
    cut_off: int
    unsaid: int
    wrong: list[str]

    def cells(self) -> dict[str, Any]:
        """Return what the table shows."""
        return {name: value for name, value in vars(self).items() if name != "wrong"}


def compare(said: Published, done: list[Handled], dead: Iterable[Name]) -> Verdict:
    """Say what became of the events; ``dead`` are parked, and should be those that no handler can take."""
    times = Counter(one.name for one in done)
    parked = set(dead)
    lost = said.accepted - times.keys() - parked
    late = out_of_order(done)
    known = said.accepted | said.unsure
    expected = said.poison & said.accepted
    wrong = [
        *(f"lost: {name}" for name in sorted(lost)[:5]),
        *(f"out of order: {name}" for name in late[:5]),
        *(f"dead without a reason: {name}" for name in sorted((parked & known) - said.poison)[:5]),
        *(f"poison, and not dead: {name}" for name in sorted(expected - parked)[:5]),
    ]
    return Verdict(
        accepted=len(said.accepted),
        handled=len(times.keys() & said.accepted),
        lost=len(lost),
        twice=sum(times.values()) - len(times),
        out_of_order=len(late),
        dead=len(parked),
        cut_off=len(said.unsure - times.keys() - parked),
        unsaid=len((times.keys() | parked) - known),
        wrong=wrong,
    )


def out_of_order(done: list[Handled]) -> list[Name]:
    """Return the events that were first handled after a later one of their key and priority."""
    latest: dict[tuple[str, int], int] = defaultdict(lambda: -1)
    seen: set[Name] = set()
    found = []
    for one in done:
        if one.name in seen:
            continue
        seen.add(one.name)
        line = one.name[:2]
        if one.name.number < latest[line]:
            found.append(one.name)
        latest[line] = max(latest[line], one.name.number)
    return found
