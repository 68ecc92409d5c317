"""What a channel consumes: a queue, its partitions, and which of these are to be asked next.

Partitions are in different slots, so no script sees all of them. What goes first in the whole is therefore decided by
what each of them said last: with every answer how many messages of each priority wait there, with its bell that
something more urgent came. Those with the most urgent messages are asked, and only for what is as urgent as in all the
others. What a partition has got that nobody has heard of yet is late by the time of a claim.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omx_tasks.broker.partitions import partitions
from omx_tasks.broker.queues import Claimed
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.link import Link
from omx_tasks.store.scripts import Call
from omx_tasks.store.topology import slot_of

if TYPE_CHECKING:
    from omx_tasks.broker.channel import Channel

#: Seconds without an answer after which the other partitions do not wait for one any longer.
LATE = 0.1
#: Messages of one claim at least, where that many are wanted: more claims at once would be dearer than they are fair.
SHARE = 16
NOTHING: tuple[int, ...] = (0,) * len(Priority)
#: Less urgent than all priorities.
NEVER = len(Priority)


class Whole:
    """A queue that a channel consumes, with as many partitions as are known of."""

    def __init__(self, queue: str, channel: Channel, *, no_ack: bool) -> None:
        self.queue = queue
        self.channel = channel
        self.no_ack = no_ack
        self.served = channel.serves(queue)
        self.parts: list[Consumption] = []

    def __repr__(self) -> str:
        return f"<Whole {self.queue} partitions={len(self.parts)}>"

    def grow(self, count: int) -> list[Consumption]:
        """Have so many partitions; returns those that are new."""
        known = len(self.parts)
        new = [Consumption(name, self) for name in partitions(self.queue, count)[known:]]
        self.parts += new
        return new

    def next_in_line(
        self, hungry: Sequence[Consumption], room: int, now: float
    ) -> list[Consumption]:
        """Return which of the hungry partitions to ask now; the others' turn comes with the answers."""
        if len(self.parts) == 1:
            return list(hungry)
        best = min(part.urgency(now) for part in self.parts)
        ready = [part for part in hungry if part.curious or part.urgency(now) <= best]
        again = [part for part in ready if part.token]
        fresh = [part for part in ready if not part.token]
        return again + fresh[: max(1, room // SHARE)]

    def seen(self, got: Claimed) -> Claimed:
        """Return an answer without what waits for others: they serve its priority, this channel does not."""
        counts = enumerate(got.waiting)
        return got._replace(waiting=tuple(n if p in self.served else 0 for p, n in counts))

    def least(self, asked: Consumption, now: float) -> int:
        """Return the least urgent priority that a partition may give: the others have nothing more urgent."""
        others = (part.urgency(now) for part in self.parts if part is not asked)
        return min([Priority.P3, *others])


@dataclass(eq=False)
class Consumption:
    """A partition of a queue that a channel consumes, and where its claim stands."""

    queue: str
    whole: Whole
    hungry: bool = True
    asked: Call | None = None
    link: Link | None = None
    token: str = ""
    most: int = 0
    #: Whether suspects wait, as far as was heard, and whether the claim under way may get one.
    suspects: bool = False
    may_have_suspect: bool = False
    due: float | None = None
    #: How many messages of each priority wait, as far as was heard; at first, anything may.
    waiting: tuple[int, ...] = (1, *NOTHING[1:])
    #: Whether there may be something of which nothing was heard.
    curious: bool = True
    #: Since when an answer is awaited (monotonic seconds).
    awaited_at: float | None = field(default_factory=time.monotonic)
    #: When a claim was last answered, or there was no room for one (monotonic seconds).
    attended_at: float = field(default_factory=time.monotonic)
    slot: int = field(init=False)

    def __post_init__(self) -> None:
        self.slot = slot_of(keys.meta(self.queue))

    @property
    def channel(self) -> Channel:
        """The channel that consumes."""
        return self.whole.channel

    def look_at_clock(self, now: float) -> None:
        """Get hungry when the time has come that an answer named."""
        if self.due is not None and self.due <= now:
            self.due = None
            self.wonder()

    def wonder(self) -> None:
        """Something may be there: ask, whatever the others have."""
        self.hungry = self.curious = True

    def hear(self, priority: int) -> None:
        """Note that something of this priority waits now; behind what is not served here something may that is."""
        if priority not in self.whole.served:
            self.wonder()
            return
        counts = list(self.waiting)
        counts[priority] = max(1, counts[priority])
        self.waiting, self.hungry = tuple(counts), True

    def be_away(self) -> None:
        """Note that nobody is there to be asked; one of whom nothing was heard yet has a moment to come."""
        if self.awaited_at is None:
            self.lose()

    def lose(self) -> None:
        """Forget what was said: nobody answers for it at present."""
        self.link, self.waiting = None, NOTHING
        self.wonder()

    def urgency(self, now: float) -> int:
        """Return the most urgent priority of what waits, `NEVER` where nothing does, or nobody answers."""
        if self.awaited_at is not None and now - self.awaited_at > LATE:
            return NEVER
        return next((p for p, count in enumerate(self.waiting) if count), NEVER)
