"""Ends an agent in good order when it uses more memory than it may, or has done as many operations as it may.

::

    works ──┬── uses too much, at two looks in a row ──┐
            └── has done its operations ───────────────┴──► retires: takes nothing more, ends what it does, and itself

Whoever keeps it up (a nursery, a container's engine) starts another one; a nursery does so as soon as one retires. What
an agent uses is its own process and those of its servers; what several processes share counts in parts (PSS).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from omx_tasks import memory, sizes
from omx_tasks.agents import templates
from omx_tasks.settings import Settings

#: Seconds between two looks, and at the most between two at what processes share: that takes far longer to find out.
EVERY, CLOSELY = 3.0, 15.0
#: Seconds that an agent must have lived to retire for its memory, lest it be done all the time where the limit is below
#: what it needs at the least.
SETTLED = 30.0
#: Looks in a row at which it uses too much: a large answer that passes through is none of it.
LOOKS = 2

logger = logging.getLogger(__name__)

#: Told why it retires, what it uses (bytes), and what it has done.
Told = Callable[[str, int, int], None]


class Tenure:
    """``limit``: bytes (None: any), ``most``: operations (0: any), ``done``: how many were so far.

    `end` is called once, from the thread that looks: it has the process end what it does, and itself.
    """

    def __init__(
        self,
        limit: int | None,
        most: int,
        done: Callable[[], int],
        told: Told = lambda *_: None,
        used: Callable[[], int] = memory.of_this_tree,
        clock: Callable[[], float] = time.monotonic,
        at_most: Callable[[], int] = memory.at_most_of_this_tree,
    ) -> None:
        self.end: Callable[[], None] | None = None
        self._limit, self._most, self._done, self._told = limit, most, done, told
        self._used, self._clock, self._at_most = used, clock, at_most
        self._began = clock()
        self._looked = self._began - CLOSELY
        self._memory = self._above = 0
        self._reason = ""

    def __repr__(self) -> str:
        return f"<Tenure {self._reason or 'works'}>"

    def look(self) -> None:
        """See whether it is time."""
        self._weigh()
        done = self._done()
        if self._reason or self.end is None:
            return
        self._above = self._above + 1 if self._limit and self._memory > self._limit else 0
        if self._most and done >= self._most:
            self._retire(f"has done {done:,} operations", done)
        elif self._above >= LOOKS and self._clock() - self._began >= SETTLED:
            limit = sizes.shown(self._limit or 0)
            self._retire(f"uses {sizes.shown(self._memory)} and may use {limit}", done)

    def _weigh(self) -> None:
        """Look closely where it may be above its limit, and now and then to show it."""
        now = self._clock()
        most = max(self._memory, self._at_most()) if self._limit else 0
        if now - self._looked >= CLOSELY or most > (self._limit or 0):
            self._looked, self._memory = now, self._used()

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `AgentRecord` (from any thread)."""
        return {"memory": self._memory, "retiring": self._reason}

    def _retire(self, reason: str, done: int) -> None:
        assert self.end is not None
        self._reason = reason
        logger.warning("this agent %s: it ends what it does, and itself", reason)
        self._told(reason, self._memory, done)
        self.end()


def limit_of(settings: Settings) -> int | None:
    """Return the bytes that an agent with these settings may use: those that are set, else its template's."""
    if settings.agent_memory is not None:
        return settings.agent_memory
    if settings.template in (None, templates.EVERYTHING):
        return None
    return templates.load(settings.templates).find(settings.template).memory
