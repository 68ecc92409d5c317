"""Passes on what a server says of an operation's progress, at most ten times a second.

::

    quiet ──said──► told, waiting ──time is over──► quiet
                      │   ▲                            (nothing was said meanwhile)
                      said: kept, the newest only; told when the time is over, or when the call is
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds between two reports of one operation.
EVERY = 0.1
#: Characters of a message that are passed on.
LONGEST = 500


class Reporter:
    """Call it with progress, total and message, on the loop; `finish` it after the call, `close` it in any case.

    ``tell`` has a report stored and returns what is done then.
    """

    def __init__(self, tell: Callable[[str], asyncio.Future[Any]], every: float = EVERY) -> None:
        self._tell = tell
        self._told: asyncio.Future[Any] | None = None
        self._every = every
        self._kept: str | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Reporter {'quiet' if self._timer is None else 'waiting'}>"

    def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """Tell it now or soon."""
        text = None if message is None else message[:LONGEST]
        self._kept = json.dumps({"progress": progress, "total": total, "message": text})
        if self._timer is None:
            self._due()

    async def finish(self) -> None:
        """Tell what was kept, and wait until all is stored: after its end nothing is told of an operation."""
        self.close()
        self._report()
        if self._told is not None:
            await asyncio.wait((self._told,))

    def close(self) -> None:
        """Tell nothing more by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        if self._report():
            self._timer = asyncio.get_running_loop().call_later(self._every, self._due)

    def _report(self) -> bool:
        """Have what was kept stored; progress that is lost is worth a word in the log, no more."""
        if self._kept is None:
            return False
        self._told, self._kept = self._tell(self._kept), None
        self._told.add_done_callback(_lost)
        return True


def _lost(told: asyncio.Future[Any]) -> None:
    if not told.cancelled() and (error := told.exception()) is not None:
        logger.warning("progress could not be told: %s", error)
