"""Follows many runs at once, for callers that may not wait: one thread, one request a master for the news of all.

A run that had news is asked again soon, a quiet one more and more seldom. One whose shard is away is asked again for
as long as a request may take, and then told the reason; the others go on meanwhile. What came is told in the thread;
who is told must not wait there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from omx_tasks.errors import NotFoundError, OmxError, UsageError
from omx_tasks.runs.follow import Change, changes_of, entries_of
from omx_tasks.store import keys
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.link import ReplyError
from omx_tasks.store.requests import Request

#: Seconds between two looks at a run, after news and at most.
SOON, SELDOM = 0.01, 0.1
#: Seconds that one request waits for a node, and entries that it brings at most.
ATTEMPT, MOST = 2.0, 1000

#: Takes changes; then None when the run is over, or an error, and nothing more.
Told = Callable[[list[Change] | OmxError | None], None]


@dataclass(eq=False)
class Following:
    """A run that somebody follows; ``last`` is what was read of its stream."""

    run_id: str
    told: Told
    last: str = "0"
    pause: float = SOON
    due: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)

    def questions(self) -> list[Request]:
        """Return what to ask: what is new, and whether the run is there, and how often it was resumed."""
        stream, about = keys.stream(self.run_id), keys.run(self.run_id)
        news = ("XREAD", "COUNT", MOST, "STREAMS", stream, self.last)
        fields = ("HMGET", about, "name", "generation")
        return [Request.plain(stream, news), Request.plain(about, fields)]

    def take(self, news: object, about: list[bytes | None]) -> bool:
        """Tell what came; False when that was the last of it."""
        name, generation = about
        entries = list(entries_of(news))
        if name is None and not entries:
            self.told(NotFoundError(_GONE.format(run=self.run_id)))
            return False
        changes = list(changes_of(entries))
        if changes:
            self.last = entries[-1][0].decode()
            self.told(changes)
        over = [one for one in changes if not one.operation and one.state != "running"]
        if over and over[-1].generation >= int(generation or 0):
            self.told(None)
            return False
        self.pause = SOON if changes else min(SELDOM, self.pause * 1.5)
        self.heard = time.monotonic()
        self.due = self.heard + self.pause
        return True


_GONE = "there is no run {run!r} (any more): `omx runs` lists those there are"


class Followers:
    """Runs its thread while somebody follows a run. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followed: set[Following] = set()
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Followers of {len(self._followed)} runs>"

    def follow(self, run_id: str, told: Told) -> Following:
        """Tell all changes of a run, from its beginning, until it is over."""
        following = Following(run_id, told)
        with self._lock:
            self._followed.add(following)
            self._more.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="followers", daemon=True)
                self._thread.start()
        return following

    def leave(self, following: Following) -> None:
        """Tell nothing more of what somebody follows; one change may be on its way."""
        with self._lock:
            self._followed.discard(following)
            self._more.notify()

    def stop(self) -> None:
        """Tell all who follow that it is over with that, and end the thread."""
        with self._lock:
            left, thread = self._followed.copy(), self._thread
            self._followed.clear()
            self._more.notify()
        for following in left:
            following.told(UsageError(f"run {following.run_id} is not followed any more"))
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            self._look(due)

    def _next(self) -> list[Following] | None:
        """Wait until runs are to be asked, and return those; None when nobody follows any."""
        with self._lock:
            while self._followed:
                now = time.monotonic()
                if due := [one for one in self._followed if one.due <= now]:
                    return due
                self._more.wait(min(one.due for one in self._followed) - now)
            self._thread = None
            return None

    def _look(self, due: list[Following]) -> None:
        asked = [(following, following.questions()) for following in due]
        limit = time.monotonic() + ATTEMPT
        reason = self._store.try_once([one for _, both in asked for one in both], limit)
        self._forget([one for one, both in asked if not self._goes_on(one, both, reason)])

    def _goes_on(self, one: Following, asked: list[Request], reason: str | None) -> bool:
        """Tell what was answered, if all was; False when that, or the lack of it, was the last."""
        if all(request.done for request in asked):
            news, about = (request.reply for request in asked)
            refused = next((one for one in (news, about) if isinstance(one, ReplyError)), None)
            if refused is None:
                return one.take(news, about)
            one.told(StoreError(f"run {one.run_id} cannot be followed: {refused}"))
            return False
        one.due = time.monotonic() + SELDOM
        if one.due < one.heard + self._store.timeout:
            return True
        one.told(self._store.unconfirmed(reason, asked))
        return False

    def _forget(self, over: Iterable[Following]) -> None:
        with self._lock:
            self._followed.difference_update(over)
