"""What a consumer has in hand: events of one partition that were claimed together, and what became of each.

A hand of new events ends with the cursor's move to its last number; of one that lasts, the part that is done is told
in between. In a hand of events that are tried again, each is told by its own place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from omx_tasks.events.handlers import Handler
from omx_tasks.events.log import Claim, Given
from omx_tasks.events.types import Event, EventError, Place
from omx_tasks.priorities import Priority

#: Characters of an error that are kept with a dead event.
ERROR = 500


@dataclass(eq=False)
class Held:
    """An event, and the hand that it is in."""

    event: Event
    given: Given
    hand: Hand


@dataclass(eq=False)
class Hand:
    """Events of one priority, new ones or such that are tried ``again``; ``to`` is the last number looked at."""

    partition: int
    priority: Priority
    again: bool
    to: int = 0
    todo: deque[Held] = field(default_factory=deque)
    #: Whether there is something to say that was not said yet.
    news: bool = False
    #: Whether some of its events go to the retry line.
    opened_lines: bool = False
    _told: list[tuple[int, tuple[Any, ...]]] = field(default_factory=list)
    _failed: set[str] = field(default_factory=set)

    def take(self) -> Held | None:
        """Return the next event; what comes after a failed one of its key waits behind it."""
        while self.todo:
            held = self.todo.popleft()
            if not held.event.key or held.event.key not in self._failed:
                return held
            if not self.again:
                self._tell(held.given.place, "behind", int(self.priority), held.given.place)
        return None

    def wait_behind(self, given: Given) -> None:
        """Put an event into the retry line that its key has already."""
        self._tell(given.place, "behind", int(self.priority), given.place)

    def unreadable(self, given: Given, error: str) -> None:
        """Park an event that this program cannot read."""
        if self.again:
            self._tell_again("parked", given.place, error)
        else:
            self._tell(given.place, "dead", int(self.priority), given.place, error, 1)

    def succeeded(self, held: Held) -> None:
        """Say that an event was handled."""
        self.news = True
        if self.again:
            self._tell_again("done", held.given.place)

    def failed(self, held: Held, handler: Handler, error: str) -> None:
        """Say that an event was not handled: it is tried again, or parked."""
        place, count = held.given.place, held.event.deliveries
        delay = round(handler.delay(count) * 1000)
        text = error[:ERROR]
        if count < handler.deliveries:
            self._failed.add(held.event.key)
            if self.again:
                self._tell_again("again", place, delay, count)
            else:
                self._tell(place, "failed", int(self.priority), place, delay, count)
        elif self.again:
            self._tell_again("parked", place, text)
        else:
            self._tell(place, "dead", int(self.priority), place, text, count)

    def _tell(self, place: str, *words: Any) -> None:
        self._told.append((int(place), words))
        self.news = True
        self.opened_lines |= words[0] in ("failed", "behind")

    def _tell_again(self, *words: Any) -> None:
        self._told.append((0, words))
        self.news = True

    def words(self) -> list[Any]:
        """Return what there is to say now, for the script; it is not said again."""
        self.news = False
        to = int(self.todo[0].given.place) - 1 if self.todo and not self.again else self.to
        said = [words for number, words in self._told if number <= to]
        self._told = [(number, words) for number, words in self._told if number > to]
        flat = [word for words in said for word in words]
        return flat if self.again else ["to", int(self.priority), to, *flat]


def hands_of(partition: int, claim: Claim) -> Iterator[Hand]:
    """Return the hands that a claim makes."""
    hands: dict[tuple[bool, Priority], Hand] = {}
    for given in claim.given:
        again = given.kind == "again"
        hand = hands.get((again, given.priority))
        if hand is None:
            to = 0 if again else claim.looked_to[given.priority]
            hand = hands[again, given.priority] = Hand(partition, given.priority, again, to)
        if given.kind == "behind":
            hand.wait_behind(given)
            continue
        try:
            place = None if again else Place(partition, int(given.place))
            event = Event.read(given.text, given.tried + 1, place)
        except (EventError, ValueError, LookupError, TypeError) as error:
            hand.unreadable(given, f"it cannot be read: {error!r}"[:ERROR])
        else:
            hand.todo.append(Held(event, given, hand))
    yield from hands.values()
