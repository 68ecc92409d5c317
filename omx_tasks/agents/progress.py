"""Passes on what a server says of an operation's progress, at most ten times a second.

::

    quiet ──said──► told, waiting ──time is over──► quiet
                      │   ▲                            (nothing was said meanwhile)
                      said: kept, the newest only; told when the time is over, or at the end of the call
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

#: Seconds between two reports of one operation.
EVERY = 0.1
#: Characters of a message that are passed on.
LONGEST = 500


class Reporter:
    """Call it with progress, total and message, on the loop; `close` it when the operation's call is over."""

    def __init__(self, tell: Callable[[str], None], every: float = EVERY) -> None:
        self._tell = tell
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

    def close(self) -> None:
        """Tell what was kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._kept is not None:
            self._tell(self._kept)
            self._kept = None

    def _due(self) -> None:
        self._timer = None
        if self._kept is not None:
            self._tell(self._kept)
            self._kept = None
            self._timer = asyncio.get_running_loop().call_later(self._every, self._due)
