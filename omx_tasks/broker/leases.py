"""The messages that a channel holds: kombu's QoS, with leases.

kombu asks the QoS object how many more messages may come (`can_consume`), tells it of each delivery
and of each ack. Here every delivery is a lease with the token of its claim. Acks are gathered and carried in
batches by the courier, from any thread; leases are renewed by it every third of their length until then.
A lease that is no longer ours is counted and logged: the message went to somebody else, and our ack will not touch it.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Held
from omx_tasks.errors import OmxError
from omx_tasks.store.courier import Done
from omx_tasks.store.scripts import Call

if TYPE_CHECKING:
    from omx_tasks.broker.channel import Channel

logger = logging.getLogger(__name__)

#: What a channel without a prefetch limit takes at most in one claim.
UNLIMITED = 64
#: Messages that one script settles at most: a server does nothing else meanwhile.
MOST = 500
#: Milliseconds after which a parked message comes back that nobody woke.
PARKED = 60_000


class Back(StrEnum):
    """How a message goes back to its queue."""

    #: This delivery counts.
    RELEASED = "released"
    #: Nobody began it: this delivery does not count.
    UNBEGUN = "unbegun"
    #: Nobody can do it before it is woken.
    PARKED = "parked"


class Leases:
    """What one channel has claimed and not acknowledged. Thread-safe."""

    def __init__(self, channel: Channel, prefetch_count: int = 0) -> None:
        self.channel = channel
        self.prefetch_count = prefetch_count or 0
        self.lost = 0
        self._closed = False
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, str]] = {}
        self._messages: dict[str, Any] = {}
        #: The one that it holds, if it does: a message of which workers were perhaps ended.
        self.suspect = ""
        self._acks: dict[tuple[str, str], list[Held]] = defaultdict(list)

    def __repr__(self) -> str:
        return f"<Leases held={len(self._held)} prefetch={self.prefetch_count}>"

    def __len__(self) -> int:
        with self._lock:  # what is settled is the courier's matter by then
            return len(self._held)

    # --- kombu's interface --------------------------------------------------------------------------

    def can_consume(self) -> bool:
        """Whether one more message may come."""
        return self.room() > 0

    def can_consume_max_estimate(self) -> int:
        """How many more messages may come."""
        return self.room()

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a delivery."""
        self._messages[delivery_tag] = message

    def get(self, delivery_tag: str) -> Any:
        """Return a message that is held."""
        return self._messages[delivery_tag]

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, on the courier's next trip."""
        self._settle(delivery_tag, "acked")

    def reject(self, delivery_tag: str, requeue: bool | Back = False) -> None:
        """Refuse a message: back to its queue, as `Back` says, or counted as failed and gone."""
        back = requeue if isinstance(requeue, Back) else Back.RELEASED
        self._settle(delivery_tag, back if requeue else "failed")

    def restore_unacked(self) -> list[Any]:
        """Give everything back that is held."""
        for tag in list(self._held):
            self.reject(tag, requeue=True)
        return []

    def restore_unacked_once(self, **_kwargs: Any) -> None:
        """Give back, at the end of the channel, what nobody works on: whose message nobody has any more.

        What somebody has stays ours until he acknowledges it, or forgets it: an ack needs the token, not the channel.
        """
        if self._closed:
            return
        self._closed = True
        with self._lock:
            messages, self._messages = self._messages, {}
        for tag in self._held.keys() - messages.keys():
            self.give_back(tag)
        while messages:
            tag, message = messages.popitem()
            # A message may be forgotten in the middle of anything, also while this thread holds the lock.
            forgotten = partial(self._forgotten, tag)
            weakref.finalize(message, self.channel.courier.post, forgotten).atexit = False

    def _forgotten(self, tag: str) -> Iterable[tuple[Call, Done | None]]:
        self.give_back(tag)
        return ()

    def restore_visible(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing to do: claims return what dead workers held."""

    # --- ours ---------------------------------------------------------------------------------------

    def room(self) -> int:
        """How many more messages may be claimed now."""
        if not self.prefetch_count:
            return UNLIMITED
        return max(0, self.prefetch_count - len(self._held))

    def is_roomy(self, room: int) -> bool:
        """Whether so much room is worth a claim of its own, although one was just made."""
        return room * 2 >= self.prefetch_count or room >= self.channel.batch > 0

    def hold(self, queue: str, held: Held, *, suspect: bool = False) -> None:
        """Note that a claim got a message."""
        with self._lock:
            self._held[held.id] = (queue, held.token)
            if suspect:
                self.suspect = held.id

    def give_back(self, tag: str) -> None:
        """Return a message that nobody began to work on."""
        self._settle(tag, Back.UNBEGUN)

    def _settle(self, tag: str, outcome: str) -> None:
        with self._lock:
            place = self._held.pop(tag, None)
            self._messages.pop(tag, None)
            if place is None:
                return
            if not self._acks:
                self.channel.courier.post(self._pending)
            self._acks[(outcome, place[0])].append(Held(tag, place[1]))
        if tag == self.suspect:
            self.suspect = ""
            self.channel.poller.suspect_settled()
        self.channel.poller.capacity_freed(self.channel)

    def _pending(self) -> Iterator[tuple[Call, Done | None]]:
        with self._lock:
            acks, self._acks = self._acks, defaultdict(list)
        most = min(MOST, self.channel.batch or MOST)
        for (outcome, queue), all_held in acks.items():
            for first in range(0, len(all_held), most):
                held = all_held[first : first + most]
                if outcome in (Back.RELEASED, Back.UNBEGUN):
                    yield queues.release(queue, held, unbegun=outcome == Back.UNBEGUN), _report
                elif outcome == Back.PARKED:
                    yield queues.park(queue, held, delay=PARKED), _report
                else:
                    yield queues.ack(queue, held, outcome=outcome), _report_ack

    def renewals(self) -> Iterator[tuple[Call, Done | None]]:
        """Make the calls that extend every lease."""
        by_queue: dict[str, list[Held]] = defaultdict(list)
        with self._lock:
            for tag, (queue, token) in self._held.items():
                by_queue[queue].append(Held(tag, token))
        for queue, held in by_queue.items():
            for first in range(0, len(held), MOST):
                part = held[first : first + MOST]
                yield queues.renew(queue, part, lease=self.channel.lease), self._renewed

    def _renewed(self, answer: Any) -> None:
        if isinstance(answer, OmxError):
            logger.warning("leases could not be renewed: %s", answer)
            return
        lost = [tag for tag in (id_.decode() for id_ in answer) if tag in self._held]
        if lost:
            self.lost += len(lost)
            logger.warning(
                "%d leases ended before their tasks did; the messages may be delivered again: %s",
                len(lost),
                ", ".join(lost[:5]),
            )


def _report(answer: Any) -> None:
    if isinstance(answer, OmxError):
        logger.error(
            "messages could not be given back; they return when their leases end: %s", answer
        )


def _report_ack(answer: Any) -> None:
    if isinstance(answer, OmxError):
        logger.error("acks were not confirmed; the messages may be delivered again: %s", answer)
    elif answer[2]:
        logger.warning("%d acks came too late: the messages had gone to another worker", answer[2])
