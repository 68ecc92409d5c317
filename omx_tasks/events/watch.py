"""Watches events without handling them: what the logs still hold, and what comes; any number of watchers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from omx_tasks.events import log
from omx_tasks.events.bells import Bells
from omx_tasks.events.types import Event
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Entries that one request reads.
PAGE = 1000
#: Seconds after which is looked although nothing rang.
SLOW_LOOK = 2.0

_Log = tuple[int, Priority]


def matches(pattern: str, type_: str) -> bool:
    """Whether a pattern (``a.b``, ``a.*``, ``*``) takes a type."""
    return type_.startswith(pattern[:-1]) if pattern.endswith("*") else type_ == pattern


class Watch:
    """Reads the logs of a cluster; ``patterns`` say which types are wanted (none: all)."""

    def __init__(self, store: Store, patterns: Sequence[str] = (), *, partitions: int = 6) -> None:
        self._store = store
        self._patterns = patterns
        self._partitions = log.open_log(store, partitions)
        self._read: dict[_Log, str] = {}
        self._rung = threading.Event()

    def __repr__(self) -> str:
        return f"<Watch {self._patterns} partitions={self._partitions}>"

    def before(self, most: int) -> list[Event]:
        """Return the last events that the logs hold, oldest first; `follow` goes on after them."""
        found: list[Event] = []
        for number in range(self._partitions):
            for priority in Priority:
                found += self._last(number, priority, most)
        found.sort(key=lambda event: event.at)
        return found[-most:] if most else []

    def follow(self) -> Iterator[Event]:
        """Yield what comes, for ever; each log in its order."""
        bells = Bells(self._store, self._partitions, lambda _number, _counts: self._rung.set())
        try:
            while True:
                self._rung.clear()
                yield from self._news()
                if not self._rung.is_set():
                    bells.listen(SLOW_LOOK)
        finally:
            bells.close()

    def _last(self, number: int, priority: Priority, most: int) -> list[Event]:
        key, end = keys.event_log(number, priority), "+"
        found: list[Event] = []
        while True:
            page = self._store.command(key, "XREVRANGE", key, end, "-", "COUNT", PAGE)
            if page and end == "+":
                self._read[number, priority] = page[0][0].decode()
            found += self._wanted(page)
            if len(page) < PAGE or len(found) >= most:
                return found[:most]
            end = f"({page[-1][0].decode()}"

    def _news(self) -> Iterator[Event]:
        logs = [(number, priority) for number in range(self._partitions) for priority in Priority]
        while logs:
            commands = []
            for number, priority in logs:
                key, after = keys.event_log(number, priority), self._read.get((number, priority))
                start = f"({after}" if after else "-"
                commands.append((key, ("XRANGE", key, start, "+", "COUNT", PAGE)))
            pages = self._store.commands(commands)
            events: list[Event] = []
            for place, page in zip(logs, pages, strict=True):
                if page:
                    self._read[place] = page[-1][0].decode()
                    events += self._wanted(page)
            yield from sorted(events, key=lambda event: event.at)
            logs = [one for one, page in zip(logs, pages, strict=True) if len(page) == PAGE]

    def _wanted(self, page: Sequence[tuple[bytes, Sequence[bytes]]]) -> Iterator[Event]:
        for _, (_t, type_, _k, _key, _e, text) in page:
            name = type_.decode()
            if not self._patterns or any(matches(one, name) for one in self._patterns):
                yield Event.read(text)
