"""Lets threads wait for results: one of them listens for all, the others are woken by it.

::

    waits ──► nobody listens? ──► listens ──► news, or its time is over ──► whoever still waits is woken
      └─────► somebody does?  ──► follows ──► woken: looks for its result, else waits again ──┘

Each thread remembers which news it has seen, so that a result that comes between its look and its wait wakes
it all the same; whoever listened for a moment wakes those who found it doing so. A task that this process calls is
listened to before it is sent, so nobody need look whether its result is there already. After a fork, listener and
locks are made anew by the first who asks or waits, and hear also what the parent waited for.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from celery import states
from celery.backends.asynchronous import BaseResultConsumer
from celery.exceptions import TimeoutError as CeleryTimeoutError
from kombu.utils.encoding import bytes_to_str

from omx_tasks.errors import UnavailableError
from omx_tasks.results.listener import Listener
from omx_tasks.store.link import LinkError

logger = logging.getLogger(__name__)


class ResultConsumer(BaseResultConsumer):
    """Celery's interface to the `Listener`."""

    _connection_errors = (UnavailableError, LinkError)
    on_message: Callable[[Any], Any] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._wanted: set[str] = set()
        self._expected: set[str] = set()
        self._listener = Listener(self.backend.store, self._came)
        self._news = threading.Condition()
        self._count = 0
        self._rounds = 0
        self._seen = threading.local()

    def start(self, initial_task_id: str, **_kwargs: Any) -> None:
        """Begin with one task."""
        self.consume_from(initial_task_id)

    def on_after_fork(self) -> None:
        """A thread does not survive a fork: begin anew, with all that the parent waited for."""
        inherited = self._wanted
        self._begin()
        for key in inherited:
            self._want(key)

    def _notice_fork(self) -> None:
        if os.getpid() != self._pid:
            self._after_fork()

    def stop(self) -> None:
        """Stop listening."""
        self._listener.stop()

    def drain_events(self, timeout: float | None = None) -> None:
        """Wait until any result came since this thread's last call, at most ``timeout`` seconds (None: one)."""
        deadline = time.monotonic() + (1.0 if timeout is None else timeout)
        while getattr(self._seen, "count", -1) == self._count:
            left, rounds = deadline - time.monotonic(), self._rounds
            if left <= 0:
                break
            if self._listener.listen(left):
                self._wake_followers()
            else:
                self._follow(left, rounds)
        self._seen.count = self._count

    def _wake_followers(self) -> None:
        with self._news:
            self._rounds += 1
            self._news.notify_all()

    def _follow(self, seconds: float, rounds: int) -> None:
        """Wait until whoever listens has something to tell, or stops, which it may have done already."""
        with self._news:
            if getattr(self._seen, "count", -1) == self._count and rounds == self._rounds:
                self._news.wait(seconds)

    def expect(self, task_id: str) -> None:
        """Hear the result of a task that is about to be called."""
        self._notice_fork()
        key = self._key(task_id)
        self._expected.add(key)
        self._want(key, about_to_be_called=True)

    def consume_from(self, task_id: str) -> None:
        """Hear this task's result."""
        self._notice_fork()
        self._want(self._key(task_id))

    def _want(self, key: str, *, about_to_be_called: bool = False) -> None:
        if key not in self._wanted:
            self._wanted.add(key)
            self._listener.want(key, about_to_be_called=about_to_be_called)
            self._wake_followers()

    def cancel_for(self, task_id: str) -> None:
        """Stop hearing this task."""
        key = self._key(task_id)
        if key in self._wanted:
            self._wanted.discard(key)
            self._listener.unwant(key)
        self._expected.discard(key)

    def on_wait_for_pending(self, result: Any, timeout: float | None = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Take what is there already, before anything is waited for; what is expected will be heard."""
        self._notice_fork()
        if all(self._is_expected(member) for member in getattr(result, "results", [result])):
            return
        for meta in result._iter_meta(**{**kwargs, "interval": 0}):  # one look, no nap behind it
            if meta is not None:
                self.on_state_change(meta, None)
        members = getattr(result, "results", ())
        if members and all(member.on_ready.ready for member in members):
            result._on_full.p()  # a set made of what is ready already does not notice it by itself

    def _is_expected(self, result: Any) -> bool:
        """Whether a result is still to be told to ``result``, which waits for it already."""
        return self._key(result.id) in self._expected

    def _wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        on_interval: Callable[[], Any] | None = None,
        on_message: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> Iterator[None]:
        """Yield after each piece of news until ``result`` is ready; raises Celery's `TimeoutError`.

        Celery's own gives up the processor after each piece of news, which takes longer here than all the rest.
        """
        self.on_wait_for_pending(result, timeout=timeout, **kwargs)
        former, self.on_message = self.on_message, on_message
        try:
            news = self.drain_events_until(
                result.on_ready, timeout=timeout, on_interval=on_interval
            )
            for _ in news:
                yield
        except TimeoutError as error:
            raise CeleryTimeoutError("The operation timed out.") from error
        finally:
            self.on_message = former

    def on_state_change(self, meta: dict[str, Any], message: Any) -> None:  # noqa: ARG002
        """Hand a result to all who wait for it, then to the callback of who wants to be told of each."""
        self._hand_over(meta)
        if self.on_message:
            self.on_message(meta)

    def _hand_over(self, meta: dict[str, Any]) -> None:
        """Hand a result to all who wait for it; a finished task needs no more listening."""
        if meta["status"] not in states.READY_STATES:
            return
        task_id = meta["task_id"]
        self._expected.discard(self._key(task_id))  # first: who comes to wait now must look himself
        waiting = [
            result
            for mapping in self._pending_results
            for result in list(mapping.get(task_id, {}).values())
        ]
        if not waiting:  # it may have come before anybody began to wait
            self._pending_messages.put(task_id, meta)
        for result in waiting:
            result._maybe_set_cache(meta)
            bucket = self.buckets.pop(result, None)
            if bucket is not None:
                bucket.append(result)
        self.cancel_for(task_id)

    def _came(self, key: str, value: bytes) -> None:
        meta = None
        try:
            meta = self.backend.decode_result(value)
            self._hand_over(meta)
        except Exception:  # one unreadable result must not disturb who listens for all others
            logger.exception("the result %s could not be taken", key)
        with self._news:
            self._count += 1
            self._news.notify_all()
        if meta is not None and self.on_message:
            self.on_message(meta)

    def _key(self, task_id: str) -> str:
        return str(bytes_to_str(self.backend.get_key_for_task(task_id)))
