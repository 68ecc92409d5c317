"""Hands work from any thread to the loop's thread, and wakes the loop once however much there is."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from omx_tasks.mcp.loop import LoopThread

logger = logging.getLogger(__name__)


class Handover:
    """A line of callbacks for one loop, in order.

    Waking a loop costs a system call and a change of threads: a claim of thirty messages, or a trip that brought
    thirty answers, wakes it once.
    """

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._line: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._woken = False

    def __repr__(self) -> str:
        return f"<Handover waiting={len(self._line)}>"

    def call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Have the loop call ``callback``; raises `RuntimeError` when the loop does not run."""
        self._line.append((callback, arguments))
        if not self._woken:
            self._woken = True
            self._loop.loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        self._woken = False  # first: who comes from now on wakes the loop again
        while self._line:
            callback, arguments = self._line.popleft()
            try:
                callback(*arguments)
            except Exception:  # one sender's fault must not cost the others
                logger.exception("what was handed to the loop failed")
