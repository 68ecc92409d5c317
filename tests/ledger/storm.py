"""A storm: messages are published while their workers are killed and drained, and a ledger tells what became of them.

Publishing keeps pace with the strikes: each strike finds messages waiting, claimed and running.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ledger_file import Ledger

PAUSE = 0.005
Publish = Callable[[Sequence[int]], None]


class Victim(Protocol):
    """A worker that can be struck; after either strike it is started again."""

    def is_ready(self) -> bool:
        """Whether it consumes."""

    def crash(self) -> None:
        """Kill it with all its processes."""

    def drain(self) -> bool:
        """Shut it down warmly; False when it had to be killed because it did not end."""


@dataclass(frozen=True)
class Outcome:
    """What the ledger says."""

    published: int
    lost: int
    duplicated: int
    kills: int
    drains: int
    hung_drains: int
    longest_wait: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"published {self.published}, lost {self.lost}, duplicated {self.duplicated}, "
            f"kills {self.kills}, drains {self.drains} (hung {self.hung_drains}), "
            f"longest wait {self.longest_wait:.2f} s, {self.seconds:.1f} s"
        )


@dataclass
class Storm:
    """``patience``: seconds without progress after which what is missing counts as lost."""

    ledger: Ledger
    publish: Publish
    victims: Sequence[Victim]
    messages: int
    kills: int
    drains: int
    patience: float
    seed: int = 1
    _sent: dict[int, float] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)
    _read_to: int = 0
    _hung: int = 0

    def rage(self) -> Outcome:
        """Publish and strike until all is worked on, or nothing moves any more."""
        chance, began = random.Random(self.seed), time.monotonic()
        strikes = ["crash"] * self.kills + ["drain"] * self.drains
        chance.shuffle(strikes)
        portions = len(strikes) + 1
        for position, strike in enumerate(strikes):
            self._publish_to(self.messages * (position + 1) // portions)
            self._wait_for(self.messages * (2 * position + 1) // (2 * portions))
            self._strike(chance, strike)
        self._publish_to(self.messages)
        self._wait_for(self.messages)
        return self._outcome(time.monotonic() - began)

    def _publish_to(self, number: int) -> None:
        numbers = range(len(self._sent), number)
        now = time.monotonic()
        self._sent.update((number, now) for number in numbers)
        self.publish(numbers)

    def _wait_for(self, number: int) -> None:
        """Wait until so many messages were worked on; what does not move any more is left."""
        until = time.monotonic() + self.patience
        while self._progress() < number and time.monotonic() < until:
            before = len(self._seen)
            time.sleep(PAUSE)
            if self._progress() > before:
                until = time.monotonic() + self.patience

    def _progress(self) -> int:
        """Read on in the ledger; returns how many messages were worked on."""
        entries = self.ledger.entries()
        self._seen.update(entry.number for entry in entries[self._read_to :])
        self._read_to = len(entries)
        return len(self._seen)

    def _strike(self, chance: random.Random, strike: str) -> None:
        until = time.monotonic() + self.patience
        while not (ready := [victim for victim in self.victims if victim.is_ready()]):
            if time.monotonic() > until:
                raise TimeoutError("no worker is ready to be struck")
            time.sleep(PAUSE)
        victim = chance.choice(ready)
        if strike == "crash":
            victim.crash()
        elif not victim.drain():
            self._hung += 1

    def _outcome(self, seconds: float) -> Outcome:
        counts = self.ledger.counts()
        first: dict[int, float] = {}
        for entry in self.ledger.entries():
            first.setdefault(entry.number, entry.at)
        return Outcome(
            published=len(self._sent),
            lost=len(self._sent) - len(counts),
            duplicated=sum(count - 1 for count in counts.values()),
            kills=self.kills,
            drains=self.drains,
            hung_drains=self._hung,
            longest_wait=max(first[number] - self._sent[number] for number in first),
            seconds=seconds,
        )
