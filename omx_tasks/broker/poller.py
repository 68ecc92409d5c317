"""Waits for messages and claims them: one link per master, however many queues a worker has.

A queue that a channel consumes, or each partition of it, is in one of these states::

            ring, or the slow poll
    quiet ──────────────────────────► hungry ──room in the channel──► asked
      ▲                                 ▲                                │
      └────── answer: nothing left ─────┼──── answer: more is left ──────┘
                                        └──── link broken, slot moved (the same token is asked again)

*quiet* costs nothing: the queue's doorbell (a sharded channel, on the same link) says when it stops being empty, or has
something more urgent than before. Rings may be lost with a connection, so every subscription is followed by a claim,
and a slow poll stands behind. A claim's answer also says when the next delayed message or ended lease is due; the queue
is hungry then.

Of the suspects (see `queues`) a process takes one, and the next when that is settled: at most one claim at a time asks
for it, from a queue that is known to have some.

A channel's room is shared among its hungry queues, and each that was asked goes to the end of the line, so that a queue
with a backlog does not starve the others. Which partitions of a queue are asked is `consumption`'s matter. A channel
that still has half of what it may hold does not claim again at once for each place that gets free, but a moment later
for all of them.
"""

from __future__ import annotations

import itertools
import json
import logging
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kombu.utils.json import loads

from omx_tasks.broker import queues
from omx_tasks.broker.consumption import Consumption, Whole
from omx_tasks.broker.queues import Claimed, Delivery, Held
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.link import Link, ReplyError
from omx_tasks.store.links import Links
from omx_tasks.store.requests import PASSING, redirected

if TYPE_CHECKING:
    from omx_tasks.broker.channel import Channel

logger = logging.getLogger(__name__)

#: Seconds after which a quiet queue is asked all the same.
SLOW_POLL = 5.0
#: Seconds without an answer after which a queue that could be claimed from is attended to anew.
DEAF = 20.0
#: Seconds before a queue is asked again whose slot is being moved or whose shard is not up.
PATIENCE = 0.1
#: Seconds between two claims of a channel while less than half of its places are free.
GATHERING = 0.005
#: Seconds between two looks at the clock.
TICK = 0.25
#: Seconds that a consumer of broadcasts waits at most until it hears them.
FIRST_WORD = 1.0
#: Seconds that closing waits for claims under way, to give back what they get.
LAST_ANSWERS = 1.0


class Poller:
    """Claims for all channels of one connection, and delivers what it gets and what it hears."""

    def __init__(self, store: Store, deliver: Callable[[dict[str, Any], str], None]) -> None:
        self._store = store
        self._deliver = deliver
        self._wholes: dict[str, Whole] = {}
        self._consumptions: dict[str, Consumption] = {}
        self._listeners: dict[str, set[str]] = defaultdict(set)
        self._leaving: set[Consumption] = set()
        self._delivered = 0
        #: What tells this poller's claims from all others': randomness is asked for once, since that is a system call.
        self._mark = secrets.token_hex(16)
        self._numbers = itertools.count()
        self._starved = False
        self._suspect_wanted = False
        self._gathered_at: float | None = None
        self._loop_thread = 0
        self._hub: Any = None
        self._ticking: Any = None
        self._alarm: Any = None
        self._alarm_at = 0.0
        self._slow_poll_at = 0.0
        #: How many times a queue that did not answer was attended to anew.
        self.repaired = 0
        self._links = Links(
            store,
            attended=self._attended,
            heard=self._heard,
            dropped=self._dropped,
        )

    def __repr__(self) -> str:
        return f"<Poller queues={len(self._wholes)} {self._links}>"

    @property
    def connections(self) -> int:
        """How many connections wait for messages."""
        return len(self._links)

    @property
    def silence(self) -> float:
        """For how many seconds no claim was answered of the queue of which that is longest: a measure of liveness.

        A queue at rest is claimed from all the same, now and then; one for which there is no room does not count.
        """
        now = time.monotonic()
        return max((now - c.attended_at for c in list(self._consumptions.values())), default=0.0)

    def consume(self, queue: str, channel: Channel, *, no_ack: bool, partitions: int = 1) -> None:
        """Start to claim from a queue; partitions that nobody spoke of are found."""
        self.cancel(queue)
        whole = self._wholes[queue] = Whole(queue, channel, no_ack=no_ack)
        self._grow(whole, partitions)
        self._links.wake()

    def _grow(self, whole: Whole, count: int) -> None:
        """Consume so many partitions, if they are not consumed already."""
        for consumption in whole.grow(count):
            bell = keys.bell(consumption.queue)
            self._consumptions[bell] = consumption
            self._links.want(bell)

    def cancel(self, queue: str) -> None:
        """Stop claiming from a queue; what an unanswered claim gets is given back when it comes."""
        whole = self._wholes.pop(queue, None)
        for consumption in whole.parts if whole else ():
            bell = keys.bell(consumption.queue)
            del self._consumptions[bell]
            self._links.unwant(bell)
            if consumption.link is not None:
                self._leaving.add(consumption)

    def listen(self, exchange: str, queue: str) -> None:
        """Deliver the broadcasts of an exchange to a queue of this process: all that are sent after this returned.

        They are kept for nobody, so a worker must not say that it is ready before it hears them. It listens first;
        where messages are consumed already they must not be delivered in here, and nothing is waited for.
        """
        channel = keys.broadcast(exchange)
        self._listeners[channel].add(queue)
        self._links.want(channel)
        if self._consumptions or not self._links.wait_until_heard(channel, FIRST_WORD):
            self._links.wake()

    def ignore(self, exchange: str, queue: str) -> None:
        """Stop delivering the broadcasts of an exchange to a queue."""
        channel = keys.broadcast(exchange)
        self._listeners[channel].discard(queue)
        if not self._listeners[channel]:
            del self._listeners[channel]
            self._links.unwant(channel)

    def register(self, hub: Any) -> None:
        """Let Celery's event loop drive this poller."""
        self._hub = hub
        self._links.register(hub)
        hub.on_tick.add(self.tick)
        self._ticking = hub.call_repeatedly(TICK, self.tick)

    def drain(self, timeout: float | None) -> None:
        """Without an event loop: wait for messages and deliver them; `TimeoutError` when none came in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        before = self._delivered
        while True:
            self.tick()
            if self._delivered > before:
                return
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise TimeoutError("timed out")
            until = min(now + TICK, deadline or now + TICK, self._next_due() or now + TICK)
            self._links.wait(max(0.0, until - now))

    def capacity_freed(self, channel: Channel) -> None:
        """A message is done with: if a claim waited for room, make it now; from any thread."""
        if not self._starved:
            return
        if (
            channel.qos.is_roomy(channel.room())
            or time.monotonic() >= channel.claimed_at + GATHERING
        ):
            self._starved = False
            if threading.get_ident() != self._loop_thread:  # the loop's own thread is on its way
                self._links.wake()

    def suspect_settled(self) -> None:
        """The next suspect may be claimed; from any thread."""
        self._suspect_wanted = True
        self._links.wake()

    def tick(self) -> None:
        """Do what can be done now without waiting; the event loop does it on each of its rounds."""
        self._loop_thread = threading.get_ident()
        self._links.upkeep()
        now = time.monotonic()
        slow = now >= self._slow_poll_at
        if slow:
            self._attend_anew(now, absent=now > self._slow_poll_at + SLOW_POLL)
            self._slow_poll_at = now + SLOW_POLL
        if self._suspect_wanted:
            self._suspect_wanted = False
            self._want_suspect()
        hungry: dict[Channel, list[Consumption]] = defaultdict(list)
        for consumption in [part for whole in self._wholes.values() for part in whole.parts]:
            consumption.look_at_clock(now)
            if slow:
                consumption.wonder()
            if consumption.hungry and consumption.link is None:
                hungry[consumption.channel].append(consumption)
        starved, self._gathered_at = False, None
        self._starved = bool(hungry)  # an ack from now on wakes us
        for channel, group in hungry.items():
            starved |= not self._ask_channel(channel, group, now)
        self._starved &= starved
        if self._set_alarm(now):
            self._links.wake()  # how long this round waits was reckoned before

    def _want_suspect(self) -> None:
        for consumption in self._consumptions.values():
            if consumption.suspects:
                consumption.wonder()

    def _may_have_suspect(self) -> bool:
        return not any(
            consumption.may_have_suspect or consumption.channel.qos.suspect
            for consumption in self._consumptions.values()
        )

    def _attend_anew(self, now: float, *, absent: bool) -> None:
        """Begin again with queues that are consumed and do not answer, whatever the reason but our own absence."""
        for consumption in self._consumptions.values():
            if absent or consumption.channel.room() <= 0:
                consumption.attended_at = now
            elif now - consumption.attended_at > DEAF:
                logger.warning(
                    "queue %s has not answered for %.0f s; connecting again",
                    consumption.queue,
                    now - consumption.attended_at,
                )
                self.repaired += 1
                self._links.renew(consumption.slot)
                consumption.lose()

    def _next_due(self) -> float | None:
        dues = [c.due for c in self._consumptions.values() if c.due is not None]
        if self._gathered_at is not None:
            dues.append(self._gathered_at)
        return min(dues, default=None)

    def _set_alarm(self, now: float) -> bool:
        """Have the event loop go round when something is due, not a tick later; True if it was not to before."""
        due = self._next_due()
        if self._hub is None or due is None or now < self._alarm_at <= due:
            return False
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        self._alarm = self._hub.call_later(max(0.0, due - now), _nothing)
        return True

    # --- claims -------------------------------------------------------------------------------------

    def _ask_channel(self, channel: Channel, group: list[Consumption], now: float) -> bool:
        """Share a channel's room among its hungry queues; False when it did not suffice for all."""
        under_way = [c.most for c in self._consumptions.values() if c.channel is channel and c.link]
        room = channel.room() - sum(under_way)
        gathered_at = channel.claimed_at + GATHERING
        if now < gathered_at and not channel.qos.is_roomy(room) and not any(c.token for c in group):
            self._gathered_at = min(gathered_at, self._gathered_at or gathered_at)
            return False
        line = self._line(group, room, now)
        for position, consumption in enumerate(line):
            if room <= 0 and not consumption.token:
                return False
            link = self._links.of(consumption.slot)
            if link is not None:
                channel.claimed_at = now
                share = -(-room // (len(line) - position))
                share = min(share, channel.batch or share)
                room -= self._ask(consumption, link, share, now)
                self._to_the_end(consumption)
        return True

    def _line(self, group: list[Consumption], room: int, now: float) -> list[Consumption]:
        """Return whom to ask now of those that are there, of each queue the partitions whose turn it is."""
        for part in (part for whole in {c.whole for c in group} for part in whole.parts):
            if self._links.of(part.slot) is None:
                part.be_away()
        by_queue: dict[Whole, list[Consumption]] = defaultdict(list)
        for consumption in group:
            if self._links.of(consumption.slot):
                by_queue[consumption.whole].append(consumption)
        share = room // max(1, len(by_queue))
        return [
            c for whole, parts in by_queue.items() for c in whole.next_in_line(parts, share, now)
        ]

    def _to_the_end(self, consumption: Consumption) -> None:
        whole = consumption.whole
        whole.parts.remove(consumption)
        whole.parts.append(consumption)
        self._wholes[whole.queue] = self._wholes.pop(whole.queue)

    def _ask(self, consumption: Consumption, link: Link, most: int, now: float) -> int:
        if not consumption.token:
            consumption.token, consumption.most = f"{self._mark}{next(self._numbers)}", most
            consumption.may_have_suspect = consumption.suspects and self._may_have_suspect()
        channel = consumption.channel
        consumption.asked = queues.claim(
            consumption.queue,
            consumption.token,
            most=consumption.most,
            lease=channel.lease,
            deliveries=channel.most_deliveries,
            aging=channel.aging,
            least=consumption.whole.least(consumption, now),
            served=consumption.whole.served,
            losses=channel.most_losses,
            suspect=consumption.may_have_suspect,
        )
        consumption.link, consumption.awaited_at = link, now
        consumption.hungry = consumption.curious = False
        self._send(consumption, link, consumption.asked.by_digest())
        return consumption.most

    def _send(self, consumption: Consumption, link: Link, command: tuple[Any, ...]) -> None:
        answer = lambda reply: self._answered(consumption, link, reply)  # noqa: E731
        self._links.guard(link, lambda: link.post(command, answer))

    def _answered(self, consumption: Consumption, link: Link, reply: Any) -> None:
        if isinstance(reply, ReplyError):
            self._refused(consumption, link, reply)
            return
        token, consumption.token, consumption.link = consumption.token, "", None
        consumption.attended_at, consumption.awaited_at = time.monotonic(), None
        got = consumption.whole.seen(queues.claimed(reply))
        consumption.waiting = got.waiting
        if self._wholes.get(consumption.whole.queue) is consumption.whole:
            self._grow(consumption.whole, got.partitions)
        self._plan_next(consumption, got)
        self._leaving.discard(consumption)
        for delivery in got.deliveries:
            held, suspect = Held(delivery.id, token), delivery.id == got.suspect
            consumption.channel.qos.hold(consumption.queue, held, suspect=suspect)
        self._hear_of_suspects(consumption, got)
        for position, delivery in enumerate(got.deliveries):
            try:
                self._hand_over(consumption, delivery)
            except BaseException:
                for rest in got.deliveries[position + 1 :]:
                    consumption.channel.qos.give_back(rest.id)
                raise

    def _plan_next(self, consumption: Consumption, got: Claimed) -> None:
        now, gathered_at = time.monotonic(), consumption.channel.claimed_at + GATHERING
        if got.left:
            consumption.hungry = True
            self._gathered_at = gathered_at if gathered_at > now else None
        elif got.due >= 0:
            consumption.due = now + min(got.due / 1000 + 0.002, SLOW_POLL)
        self._set_alarm(now)

    def _hear_of_suspects(self, consumption: Consumption, got: Claimed) -> None:
        asked, consumption.may_have_suspect = consumption.may_have_suspect, False
        # One that was asked for and not got is for others: the next answer tells whether any are left.
        consumption.suspects = got.suspects and not (asked and not got.suspect)
        if (consumption.suspects or asked) and self._may_have_suspect():
            self._want_suspect()

    def _refused(self, consumption: Consumption, link: Link, reply: ReplyError) -> None:
        if reply.code == "NOSCRIPT" and consumption.asked is not None:
            self._send(consumption, link, consumption.asked.by_text())
            return
        consumption.lose()
        self._leaving.discard(consumption)
        if reply.code == "MOVED":
            self._store.topology.moved(consumption.slot, redirected(reply))
            return
        consumption.hungry = False
        consumption.due = time.monotonic() + PATIENCE
        if reply.code in PASSING:
            self._links.refresh()
        else:
            logger.error("a claim from %s was refused: %s", consumption.queue, reply)
            consumption.due += 1.0

    def _hand_over(self, consumption: Consumption, delivery: Delivery) -> None:
        """Deliver a message that is held; give it back if its consumer was cancelled meanwhile."""
        qos, queue = consumption.channel.qos, consumption.whole.queue
        if self._wholes.get(queue) is not consumption.whole:
            qos.give_back(delivery.id)
            return
        try:
            message = readable(delivery)
        except (ValueError, LookupError, TypeError) as error:
            logger.error("message %s of %s cannot be read: %r", delivery.id, queue, error)
            qos.reject(delivery.id, requeue=True)  # after so many deliveries it is among the dead
            return
        self._delivered += 1
        self._deliver(message, queue)
        if consumption.whole.no_ack:
            qos.ack(delivery.id)

    def _dropped(self, link: Link) -> None:
        """Claims without an answer are asked again with their token, wherever the queue is then."""
        for consumption in self._consumptions.values():
            if consumption.link is link:
                consumption.lose()
        self._leaving = {c for c in self._leaving if c.link is not link}

    # --- pushes -------------------------------------------------------------------------------------

    def _attended(self, channel: str) -> None:
        """A bell is heard (again): it may have rung before."""
        if consumption := self._consumptions.get(channel):
            consumption.wonder()

    def _rang(self, channel: str, payload: bytes) -> None:
        """Something waits. A channel at rest claims at once; else its queues take turns, in rounds."""
        if consumption := self._consumptions.get(channel):
            at_rest = self._is_at_rest(consumption.channel)
            if payload:
                consumption.hear(int(payload))
            else:
                consumption.wonder()
            if at_rest:
                self._ask_channel(consumption.channel, [consumption], time.monotonic())

    def _is_at_rest(self, channel: Channel) -> bool:
        return not any(
            c.hungry or c.link for c in self._consumptions.values() if c.channel is channel
        )

    def _heard(self, channel: str, payload: bytes) -> None:
        if channel in self._consumptions:
            self._rang(channel, payload)
            return
        for queue in list(self._listeners.get(channel, ())):
            self._delivered += 1
            self._deliver(loads(payload), queue)

    def close(self) -> None:
        """Wait for the answers to cancelled claims, then close every link."""
        deadline = time.monotonic() + LAST_ANSWERS
        while self._leaving and time.monotonic() < deadline:
            self._links.wait(deadline - time.monotonic())
        if self._hub is not None:
            self._hub.on_tick.discard(self.tick)
            for entry in (self._ticking, self._alarm):
                if entry is not None:
                    entry.cancel()
        self._links.close()


def _nothing() -> None:
    """Do nothing: the event loop's round that follows is what is wanted."""


def readable(delivery: Delivery) -> dict[str, Any]:
    """Return a claimed message in the form that kombu's channels read."""
    # kombu's reader calls a function for each object; only few messages have something for it.
    read = loads if b"__type__" in delivery.body else json.loads
    payload: dict[str, Any] = read(delivery.body)
    again = delivery.count > 1
    payload["properties"]["delivery_tag"] = delivery.id
    payload["properties"].setdefault("delivery_info", {})["redelivered"] = again
    payload["headers"]["redelivered"] = again
    return payload
