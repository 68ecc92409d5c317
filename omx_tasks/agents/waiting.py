"""Since when an operation could have been begun, and how long it then waited for its queue, a slot and its turn."""

from __future__ import annotations

import time
from typing import NamedTuple


class Waiting(NamedTuple):
    """``since``: when it became ready (Unix seconds of whoever published it); ``seconds``: until it was begun here."""

    since: float | None = None
    seconds: float | None = None

    @classmethod
    def told(cls, since: object) -> Waiting:
        """Return what a message says, which may be anything."""
        return cls(since) if isinstance(since, float) else NO_WAIT

    def over(self) -> Waiting:
        """Return how long it has waited by now; clocks of two machines that differ make no wait of less than none."""
        if self.since is None:
            return self
        return Waiting(self.since, round(max(0.0, time.time() - self.since), 6))


#: Of an operation of which nobody said when it became ready.
NO_WAIT = Waiting()
