"""Carries script calls for an asyncio loop without a thread in between.

What one round of the loop has to send leaves together at its end; answers come back as callbacks on the loop. A
courier costs two changes of threads for each trip, which is more than the trip itself takes::

    send ──► on its way ──► answered, on the loop
      │          └──► refused, link broken or silent ──┐
      └──► no link (yet) ──────────────────────────────┴──► the courier's matter ──► answered, on the loop

So the courier, which waits, tries again and gives up in the end, has what goes wrong and nothing else.

Durable calls have links of their own: while a node waits for its replica (one ``WAIT`` for all that left together), it
does nothing else for that link. What comes meanwhile is confirmed together, next. Who can do something with an answer
that may yet be lost with its node is told it as soon as it is ``stored``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from omx_tasks.errors import ConfigurationError, OmxError
from omx_tasks.store.client import Store
from omx_tasks.store.courier import Courier
from omx_tasks.store.link import Command, Link, ReplyError
from omx_tasks.store.links import Links
from omx_tasks.store.scripts import Call
from omx_tasks.store.topology import slot_of

Done = Callable[[Any], None]

#: Seconds between two looks at the links.
ROUND = 0.5

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Errand:
    """A call on its way; a durable one has its reply before that is confirmed."""

    call: Call
    done: Done
    stored: Done | None = None
    reply: Any = None


class _Listener(NamedTuple):
    """Who hears a channel."""

    heard: Callable[[bytes], None]
    hears: Callable[[], None]


class Wire:
    """Lives on one loop: `open`, `send` and `close` are called there, as is each ``done``."""

    def __init__(self, store: Store, courier: Courier, *, batch: int = 0) -> None:
        #: Steps that one script of this agent takes at most; 0: as many as there are.
        self.batch = batch
        self._courier = courier
        self._loop: asyncio.AbstractEventLoop | None = None
        self._confirmer = store.confirmer
        self._on_its_way: dict[Link, dict[int, _Errand]] = {}
        self._number = 0
        self._acts: deque[Callable[[], None]] = deque()
        self._full: set[Link] = set()
        self._ending = False
        self._unconfirmed: set[Link] = set()
        self._round: asyncio.TimerHandle | None = None
        self._listeners: dict[str, _Listener] = {}
        self._links, self._durable_links = (
            Links(
                store,
                attended=_ignore,
                heard=self._heard,
                dropped=self._dropped,
                confirmed=self._confirmed,
            )
            for _ in range(2)
        )

    def __repr__(self) -> str:
        waiting = sum(len(calls) for calls in self._on_its_way.values())
        return f"<Wire {self._links} {self._durable_links} on_its_way={waiting}>"

    async def open(self) -> None:
        """Begin to use this loop."""
        self._loop = asyncio.get_running_loop()
        for links in (self._links, self._durable_links):
            links.register(_Hub(self._loop, links.upkeep))
        self._look()

    async def close(self) -> None:
        """Close the links; what is on its way is handed to the courier."""
        if self._round is not None:
            self._round.cancel()
        for link in list(self._on_its_way):
            self._dropped(link)
        for links in (self._links, self._durable_links):
            links.close()
        self._loop = None

    def send(self, call: Call, done: Done, stored: Done | None = None) -> None:
        """Make a call; ``done`` gets its answer, or an `OmxError`.

        ``stored`` gets the answer of a durable call before it is confirmed, at most once: when it has to be made again,
        ``done`` may get another one.
        """
        slot = slot_of(call.keys[0])
        durable = call.durable and self._confirmer.active
        links = self._durable_links if durable else self._links
        link = links.of(slot)
        if link is None:
            links.open(slot)
            self._carry(call, done)
            return
        self._number += 1
        number = self._number
        self._on_its_way.setdefault(link, {})[number] = _Errand(call, done, stored)
        self._full.add(link)
        self._end_soon()
        answered = self._stored if durable else self._answered
        link.put(call.by_digest(), partial(answered, link, number))
        if durable:
            self._unconfirmed.add(link)

    def listen(
        self,
        channel: str,
        heard: Callable[[bytes], None],
        hears: Callable[[], None] = lambda: None,
    ) -> None:
        """Hear what is said on a sharded channel; what is said while its link is broken is missed.

        ``hears`` is told when all is heard from now on: at first, and after each time that something may be missing.
        """
        self._listeners[channel] = _Listener(heard, hears)
        self._links.want(channel)
        self._links.upkeep()

    def _heard(self, channel: str, payload: bytes) -> None:
        _tell(self._listeners[channel].heard, payload)

    def _confirmed(self, channel: str) -> None:
        self._listeners[channel].hears()

    def soon(self, act: Callable[[], None]) -> None:
        """Do something at the end of this round of the loop, before all that it has to send leaves."""
        self._acts.append(act)
        self._end_soon()

    def _end_soon(self) -> None:
        if not self._ending and self._loop is not None:
            self._ending = True
            self._loop.call_soon(self._end_round)

    def _end_round(self) -> None:
        while self._acts:
            act = self._acts.popleft()
            try:
                act()
            except Exception:  # as in `_tell`
                logger.exception("what was to be done at the end of a round failed")
        self._ending = False
        self._flush()

    def _flush(self) -> None:
        full, self._full = self._full, set()
        for link in full:
            if link in self._unconfirmed:
                self._confirm(link, self._number, self._confirmer.command(link.node))
                self._durable_links.guard(link, link.flush)
            else:
                self._links.guard(link, link.flush)
        self._unconfirmed.clear()

    def _answered(self, link: Link, number: int, reply: Any) -> None:
        errand = self._on_its_way[link].pop(number)
        if isinstance(reply, ReplyError):
            self._carry(errand.call, errand.done)
        else:
            _tell(errand.done, reply)

    def _stored(self, link: Link, number: int, reply: Any) -> None:
        """A durable call is answered; whether that holds is the matter of the confirmation."""
        if isinstance(reply, ReplyError):
            self._answered(link, number, reply)
        else:
            errand = self._on_its_way[link][number]
            errand.reply = reply
            if errand.stored is not None:
                _tell(errand.stored, reply)

    def _confirm(self, link: Link, last: int, command: Command) -> None:
        """Ask whether all durable calls up to the number ``last`` outlive the node."""
        link.put(command, partial(self._judge, link, last, command))

    def _judge(self, link: Link, last: int, asked: Command, reply: Any) -> None:
        try:
            verdict = self._confirmer.judge(link.node, asked, reply)
        except ConfigurationError:
            verdict = False  # the courier meets the same, and tells
        if not isinstance(verdict, bool):
            self._confirm(link, last, verdict)
            self._durable_links.guard(link, link.flush)
            return
        under_way = self._on_its_way[link]
        for number in [number for number in under_way if number <= last]:
            errand = under_way.pop(number)
            if verdict:
                _tell(errand.done, errand.reply)
            else:
                self._carry(errand.call, errand.done)

    def _dropped(self, link: Link) -> None:
        self._confirmer.forget(link.node)
        for errand in self._on_its_way.pop(link, {}).values():
            self._carry(errand.call, errand.done)

    def _carry(self, call: Call, done: Done) -> None:
        self._courier.send(call, partial(self._carried, done))

    def _carried(self, done: Done, answer: Any) -> None:
        """Bring the courier's answer to the loop."""
        try:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(done, answer)
        except (AssertionError, RuntimeError):  # the loop has ended: what waits there has, too
            logger.info("an answer came after the end of its loop")

    def _look(self) -> None:
        self._links.open_all()
        self._links.upkeep()
        if self._confirmer.active:
            self._durable_links.open_all()
            self._durable_links.upkeep()
        assert self._loop is not None
        self._round = self._loop.call_later(ROUND, self._look)


def awaited() -> tuple[asyncio.Future[Any], Done]:
    """Return what an answer, or the `OmxError` that comes for it, can be awaited by, and who is to be told of that."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def told(reply: Any) -> None:
        if future.done():
            return
        if isinstance(reply, OmxError):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    return future, told


def _tell(done: Done, reply: Any) -> None:
    try:
        done(reply)
    except Exception:  # one sender's fault must not keep the answers of the others
        logger.exception("an answer could not be told")


class _Hub:
    """What `Links` needs of an event loop; it is looked after as soon as it was woken."""

    def __init__(self, loop: asyncio.AbstractEventLoop, woken: Callable[[], None]) -> None:
        self._loop, self._woken = loop, woken

    def add_reader(self, descriptor: int, callback: Callable[..., None], *args: Any) -> None:
        self._loop.add_reader(descriptor, self._read, callback, *args)

    def remove(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)

    def _read(self, callback: Callable[..., None], *args: Any) -> None:
        callback(*args)
        self._woken()


def _ignore(*_anything: Any) -> None:
    return None
