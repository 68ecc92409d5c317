"""What an agent does now and then beside its work: a thread that does each chore every so many seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass
class Chore:
    """``do`` is called every so many seconds, the first time at once."""

    every: float
    do: Callable[[], None]
    due: float = 0.0


class Chores:
    """Starts with `start`, ends with `stop`; made after any fork. One chore may delay the others."""

    def __init__(self, *chores: Chore) -> None:
        self._chores = chores
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for chore in self._chores:
                if time.monotonic() >= chore.due:
                    self._do(chore)
            next_one = min(chore.due for chore in self._chores)
            self._stopping.wait(max(0.0, next_one - time.monotonic()))

    def _do(self, chore: Chore) -> None:
        try:
            chore.do()
        except Exception:  # one that fails must not end the others; it is done again
            logger.exception("a chore of the agent failed")
        chore.due = time.monotonic() + chore.every
