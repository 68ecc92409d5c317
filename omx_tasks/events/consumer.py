"""The thread of a handler's lane: claims its events, calls it, tells what became of them.

A priority of a partition is in one of these states::

            ring, gathered for a moment; or the slow look
    quiet ───────────────────────────────────────────────► due ──claim──► in hand ──all handled──► to be told ──ack──┐
      ▲                                                     ▲                                                       │
      └────────── nothing more there ───────────────────────┴──────────────── more is there ────────────────────────┘

What is urgent does not wait for what is not: after each call of the handler, what has become due is claimed, and the
most urgent event in any hand comes next. P0 has a lane of its own, and so waits for one call at most, and for nothing
else; while P0 events come, the other lane leaves them half of the time.

A partition has one consumer of a handler at a time, by a lease. Consumers of one handler in several processes share
the partitions evenly: who has more than its part gives one back when its hands are empty. Who has lost one learns it
when it claims or tells, and forgets what it has in hand.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omx_tasks.errors import OmxError
from omx_tasks.events import log
from omx_tasks.events.handlers import Handler
from omx_tasks.events.hands import Hand, Held, hands_of
from omx_tasks.events.lanes import Lane
from omx_tasks.events.log import Claim, Group
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store
from omx_tasks.store.link import ReplyError

logger = logging.getLogger(__name__)

#: Seconds for which events of each priority gather before they are claimed, unless there is a batch of them.
GATHER = (0.0, 0.002, 0.01, 0.05)
#: Seconds until a partition is looked at all the same.
SLOW_LOOK = 3.0
#: Events that one round of claims takes at most, for a handler that takes fewer at a time.
IN_HAND = 100
#: Seconds after which what is handled is told, although its hand is not empty.
TELL = 0.5
#: Seconds after which it is said that one call takes long.
LONG_CALL = 30.0
#: Seconds for which one request is tried, and after which it is made again.
TIMEOUT, PAUSE = 5.0, 0.2

_NEVER = float("inf")


@dataclass(eq=False)
class _Part:
    """A partition, as this consumer sees it."""

    number: int
    ours: bool = False
    due: dict[Priority, float] = field(default_factory=dict)
    gathered: dict[Priority, int] = field(default_factory=dict)
    again_at: float = 0.0
    look_at: float = 0.0
    hands: list[Hand] = field(default_factory=list)
    told_at: float = 0.0
    #: Until when another consumer has it, as far as is known.
    taken_until: float = 0.0

    def free(self) -> set[Priority]:
        """Return the priorities of which no new events are in hand."""
        return set(Priority) - {hand.priority for hand in self.hands if not hand.again}

    def next_look(self) -> float:
        """Return when there is something to claim."""
        if not self.ours:
            return self.look_at
        free = self.free()
        times = [at for priority, at in self.due.items() if priority in free]
        if not any(hand.again for hand in self.hands):
            times.append(self.again_at)
        return min([self.look_at, *times])


@dataclass(eq=False)
class _CallUnderWay:
    """A call of the handler: when it began, when to complain that it takes long, and what it was given."""

    began: float
    complain_at: float
    events: str

    @classmethod
    def of(cls, batch: Sequence[Held]) -> _CallUnderWay:
        now, first = time.monotonic(), batch[0].event
        others = f" and {len(batch) - 1} more" if len(batch) > 1 else ""
        return cls(now, now + LONG_CALL, f"{first.type} {first.id}{others}")


class Consumer:
    """Serves one lane of a handler. `start` it, `ring` it from any thread, `stop` it."""

    def __init__(
        self,
        store: Store,
        handler: Handler,
        lane: Lane,
        partitions: int,
        *,
        name: str,
        lease: float = 10.0,
    ) -> None:
        self.handler, self.lane, self.name = handler, lane, name
        #: Events that were handled, and calls that failed.
        self.handled = self.failed = 0
        self._store = store
        self._slow = min(SLOW_LOOK, lease / 2)
        self._group = Group(
            lane.group,
            handler.patterns,
            lane.priorities,
            handler.deliveries,
            round(lease * 1000),
            handler.begins,
        )
        self._parts = [_Part(number) for number in range(partitions)]
        self._most = max(handler.batch, min(IN_HAND, handler.batch * IN_HAND))
        self._consumers = 1
        self._changed = threading.Condition()
        self._stopping = False
        self._complained = False
        self._call_under_way: _CallUnderWay | None = None
        self._thread = threading.Thread(target=self._run, name=f"handler {lane.group}", daemon=True)

    def __repr__(self) -> str:
        ours = sum(part.ours for part in self._parts)
        return f"<Consumer {self.lane.group} partitions={ours} handled={self.handled} failed={self.failed}>"

    # --- from any thread -------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to claim."""
        self._thread.start()

    def ring(self, partition: int, counts: Sequence[int] | None) -> None:
        """Events were published in a partition: so many of each priority, or nobody knows.

        None of any: it was given back, or something is to be tried again.
        """
        now = time.monotonic()
        part = self._parts[partition]
        with self._changed:
            for priority in self.lane.priorities:
                count = 1 if counts is None else counts[priority]
                if not count:
                    continue
                gathered = part.gathered[priority] = part.gathered.get(priority, 0) + count
                wait = max(GATHER[priority], self.handler.gather)
                gather = 0.0 if gathered >= self._most else wait
                part.due[priority] = min(part.due.get(priority, _NEVER), now + gather)
            if counts is not None and not any(counts):
                part.taken_until = now
            if counts is None or not any(counts):
                part.look_at = now
            self._changed.notify()

    def renew(self) -> None:
        """Keep the leases of the partitions that this has; the handler may be busy for long, which is said."""
        self._complain_of_a_long_call(time.monotonic())
        ours = [part for part in self._parts if part.ours]
        calls = [self._claim_of(part, most=0, new=(), again=False) for part in ours]
        for part, answer in zip(ours, self._ask(calls), strict=True):
            if isinstance(answer, OmxError) or log.claimed(answer).ours:
                continue
            if part.ours:  # else it was given back meanwhile
                logger.warning("%s lost partition %d to another consumer", self, part.number)
                part.ours = False

    def _complain_of_a_long_call(self, now: float) -> None:
        call = self._call_under_way
        if call is not None and now > call.complain_at:
            seconds = now - call.began
            call.complain_at = now + seconds
            logger.warning(
                "handler %s has been in one call for %.0f s, with %s: what follows waits",
                self.handler.name,
                seconds,
                call.events,
            )

    def stop(self, timeout: float) -> bool:
        """Let the call that runs end, tell what was handled, give the partitions back; False when time ran out."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # --- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            began = time.monotonic()
            self._claim()  # what is urgent does not wait until the rest is told
            if self._tell(time.monotonic()):
                self._claim()
            batch = self._next_batch()
            if batch:
                self._call(batch)
                if not self.lane.urgent:
                    self.lane.turn.rest(began)
            elif not self._to_tell(time.monotonic()):
                self._wait()
        self._leave()

    def _wait(self) -> None:
        with self._changed:
            at = min(part.next_look() for part in self._parts)
            left = at - time.monotonic()
            if left > 0 and not self._stopping:
                self._changed.wait(left)

    def _ask(self, calls: Sequence[Any]) -> list[Any]:
        """Make calls; an `OmxError` stands where one was not answered."""
        if not calls:
            return []
        try:
            answers = self._store.run_many(calls, timeout=TIMEOUT)
        except OmxError as error:
            answers = [error] * len(calls)
        answers = [OmxError(str(one)) if isinstance(one, ReplyError) else one for one in answers]
        errors = [one for one in answers if isinstance(one, OmxError)]
        if errors and not self._complained:
            logger.warning("%s cannot go on now: %s", self, errors[0])
        elif self._complained and not errors:
            logger.warning("%s goes on", self)
        self._complained = bool(errors)
        if errors:
            time.sleep(PAUSE)
        return answers

    # --- claims ----------------------------------------------------------------------------------------

    def _claim(self) -> None:
        now = time.monotonic()
        owned, share = self._owned(), self._share()
        asked: list[tuple[_Part, list[Priority]]] = []
        with self._changed:
            for part in self._parts:
                if part.next_look() > now:
                    continue
                if part.ours and owned > share and not part.hands:
                    owned -= self._give_back(part)
                    continue
                slow = part.look_at <= now
                new = [
                    priority
                    for priority in sorted(part.free())
                    if priority in self.lane.priorities
                    and (slow or part.due.get(priority, _NEVER) <= now)
                ]
                part.look_at = now + self._slow
                for priority in new:
                    part.due.pop(priority, None)
                    part.gathered.pop(priority, None)
                asked.append((part, new))
        calls = []
        most = -(-self._most // max(1, len(asked)))
        for part, new in asked:
            again = not any(hand.again for hand in part.hands)
            # What another one has is looked at, and not counted as if it could be had. What is ours is only kept:
            # to take it back would be to go on with a hand that another one may have handled.
            wants = not part.ours and owned < share and part.taken_until <= now
            owned += wants
            calls.append(self._claim_of(part, most=most, new=new, again=again, wants=wants))
        seen: list[int] = []
        for (part, new), answer in zip(asked, self._ask(calls), strict=True):
            if isinstance(answer, OmxError):
                part.look_at = time.monotonic()
            else:
                claim = log.claimed(answer)
                seen.append(claim.consumers)
                self._take(part, new, claim)
        if seen:
            self._consumers = max(1, *seen)
            self._want_more([part for part, _ in asked])

    def _owned(self) -> int:
        return sum(part.ours for part in self._parts)

    def _share(self) -> int:
        return -(-len(self._parts) // self._consumers)

    def _want_more(self, asked: Sequence[_Part]) -> None:
        """Look at once at partitions that turned out to be free, if this is to have more."""
        if self._owned() >= self._share():
            return
        now = time.monotonic()
        with self._changed:
            for part in asked:
                if not part.ours and part.taken_until <= now:
                    part.look_at = now

    def _claim_of(
        self, part: _Part, *, most: int, new: Sequence[Priority], again: bool, wants: bool = False
    ) -> Any:
        return log.claim(
            part.number,
            self._group,
            self.name,
            wants=wants,
            most=most,
            new=new,
            again=again,
            durable=wants,
        )

    def _take(self, part: _Part, new: Sequence[Priority], claim: Claim) -> None:
        now = time.monotonic()
        with self._changed:
            if not (claim.ours and part.ours):
                part.hands.clear()  # what it had in hand, another one may have handled
            if not claim.ours:
                part.taken_until = now + claim.due / 1000
                part.ours = False
                ends = claim.due / 1000 + 0.01 if claim.due > 0 else self._slow
                part.look_at = now + min(self._slow, ends)
                return
            if not part.ours:
                part.ours, part.told_at = True, now
            part.again_at = _NEVER if claim.due < 0 else now + claim.due / 1000 + 0.001
            part.hands += hands_of(part.number, claim)
            for priority in new:
                if priority in claim.more:
                    part.due[priority] = now

    def _give_back(self, part: _Part) -> bool:
        call = log.ack(part.number, self._group, self.name, (), gives_back=True)
        (answer,) = self._ask([call])
        if isinstance(answer, OmxError):
            return False
        part.ours, part.look_at = False, time.monotonic() + self._slow
        return True

    # --- calls -----------------------------------------------------------------------------------------

    def _next_batch(self) -> list[Held]:
        """Take the most urgent events out of the hands; what is tried again comes alone."""
        hands = [hand for part in self._parts if part.ours for hand in part.hands]
        hands.sort(key=lambda hand: (hand.priority, not hand.again))
        batch: list[Held] = []
        for hand in hands:
            if batch and (hand.again or hand.priority > batch[0].hand.priority):
                break
            while len(batch) < self.handler.batch and (held := hand.take()) is not None:
                batch.append(held)
                if hand.again:
                    return batch
        return batch

    def _call(self, batch: list[Held]) -> None:
        error = "the handler returned it as failed"
        try:
            with self.lane.turn.take(urgent=self.lane.urgent):
                self._call_under_way = _CallUnderWay.of(batch)
                failed = {one.id for one in self.handler.call([held.event for held in batch])}
        except Exception as reason:  # whatever a handler raises is its own failure, and is counted
            error = f"{type(reason).__name__}: {reason}"
            failed = {held.event.id for held in batch}
            logger.warning("handler %s failed: %s", self.handler.name, error, exc_info=True)
        finally:
            self._call_under_way = None
        self.handled += len(batch) - len(failed)
        self.failed += bool(failed)
        for held in batch:
            if held.event.id in failed:
                held.hand.failed(held, self.handler, error)
            else:
                held.hand.succeeded(held)

    # --- what became of them ---------------------------------------------------------------------------

    def _to_tell(self, now: float) -> list[_Part]:
        return [
            part
            for part in self._parts
            if part.ours
            and any(
                not hand.todo or (hand.news and now > part.told_at + TELL) for hand in part.hands
            )
        ]

    def _tell(self, now: float) -> bool:
        """Tell what became of hands that are empty, and of the others now and then; False if there was nothing."""
        parts = self._to_tell(now)
        if not parts:
            return False
        calls = []
        for part in parts:
            part.told_at = now
            words = [word for hand in part.hands for word in hand.words()]
            calls.append(log.ack(part.number, self._group, self.name, words))
            if any(hand.opened_lines for hand in part.hands):
                part.again_at = now  # to learn when they are due
            part.hands = [hand for hand in part.hands if hand.todo]
        while calls:
            answers = self._ask(calls)
            for part, answer in zip(parts, answers, strict=True):
                if answer == b"fenced":
                    logger.warning(
                        "%s lost partition %d; it is handled elsewhere", self, part.number
                    )
                    part.ours = False
                    part.hands.clear()
            left = [n for n, answer in enumerate(answers) if isinstance(answer, OmxError)]
            calls, parts = [calls[n] for n in left], [parts[n] for n in left]
            if self._stopping and left:
                logger.warning("%s could not tell all that it handled; it will come again", self)
                break
        return True

    def _leave(self) -> None:
        self._tell(_NEVER)
        calls = [
            log.ack(part.number, self._group, self.name, (), gives_back=True)
            for part in self._parts
        ]
        for part in self._parts:
            part.ours = False
        self._ask(calls)
