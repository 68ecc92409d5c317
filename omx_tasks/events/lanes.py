"""A handler's lanes: its P0 events have a group and a consumer of their own, beside those of the rest.

To claim, read and tell a batch of what is less urgent takes milliseconds, and a P0 event waits for none of that. Only
calls take turns, the urgent one first: in one process a handler is never called twice at once.

Both lanes share processors and the interpreter's lock with all that brings the next P0 event here. So while such
events come, the other lane rests after each round for as long as the round took.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf

from omx_tasks.events.handlers import URGENT, Handler
from omx_tasks.priorities import Priority

#: Seconds after an urgent call for which another one is expected.
EXPECTED = 0.1
#: Seconds that one rest takes at most.
LONGEST_REST = 0.02


class Turn:
    """Is had by one at a time; who is urgent gets it before who is not.

    For ``expected`` seconds after an urgent call another one is thought to come.
    """

    def __init__(self, expected: float = EXPECTED) -> None:
        self._expected = expected
        self._changed = threading.Condition()
        self._taken = False
        self._urgent = 0
        self._urgent_at = -inf

    @contextmanager
    def take(self, *, urgent: bool) -> Iterator[None]:
        """Wait for the turn and have it meanwhile."""
        with self._changed:
            self._urgent += urgent
            while self._taken or (self._urgent and not urgent):
                self._changed.wait()
            if urgent:
                self._urgent -= 1
                self._urgent_at = time.monotonic()
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()

    def rest(self, since: float) -> float:
        """After a round that began at ``since``, leave the processor to urgent events where such come now.

        Returns for how many seconds.
        """
        now = time.monotonic()
        if now - self._urgent_at > self._expected:
            return 0.0
        seconds = min(now - since, LONGEST_REST)
        time.sleep(seconds)
        return seconds


@dataclass(frozen=True)
class Lane:
    """Priorities of a handler that are claimed together, the group under which they are, and the turn of the calls."""

    group: str
    priorities: tuple[Priority, ...]
    turn: Turn

    @property
    def urgent(self) -> bool:
        """Whether calls for it come first."""
        return self.priorities[0] is Priority.P0


def lanes_of(handler: Handler) -> list[Lane]:
    """Return the lanes of a handler: two where it takes P0 and others, else one."""
    turn = Turn()
    rest = tuple(one for one in handler.priorities if one is not Priority.P0)
    lanes = [Lane(handler.name, rest, turn)] if rest else []
    if Priority.P0 in handler.priorities:
        lanes.append(Lane(handler.name + URGENT, (Priority.P0,), turn))
    return lanes
