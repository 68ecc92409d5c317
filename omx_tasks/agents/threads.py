"""Threads for ordinary Celery tasks: as many as are allowed now, made when they are needed.

Unlike those of an executor of the standard library they can become fewer, and the end of the process does not wait for
them: a cold shutdown must not depend on what a task does.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

logger = logging.getLogger(__name__)

Job = Callable[[], None]


class Threads:
    """Runs jobs, first in, first out, at most ``limit`` at once. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.busy = 0
        self._threads = 0
        self._line: deque[Job] = deque()
        self._lock = threading.RLock()  # a signal's handler may come in while it is held
        self._work = threading.Condition(self._lock)
        self._rest = threading.Condition(self._lock)

    def __repr__(self) -> str:
        return f"<Threads busy={self.busy} waiting={len(self._line)} limit={self.limit}>"

    def submit(self, job: Job) -> None:
        """Run a job as soon as a thread is free."""
        with self._lock:
            self._line.append(job)
            self._serve()
            self._work.notify()

    def resize(self, limit: int) -> None:
        """Change how many run at once; what runs is not disturbed."""
        with self._lock:
            self.limit = limit
            self._serve()
            self._work.notify_all()

    def drain(self, timeout: float) -> bool:
        """Wait until nothing runs or waits; False when ``timeout`` seconds were not enough."""
        with self._lock:
            return self._rest.wait_for(lambda: not self.busy and not self._line, timeout)

    def stop(self) -> None:
        """Begin nothing more; what runs is left alone."""
        with self._lock:
            self._line.clear()
            self.limit = 0
            self._work.notify_all()

    def _serve(self) -> None:
        """Have enough threads for what waits, as far as that is allowed."""
        while self._threads < min(self.limit, self.busy + len(self._line)):
            self._threads += 1
            threading.Thread(target=self._run, name="task", daemon=True).start()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except BaseException:  # a thread that died would be missed by the others
                logger.exception("a task was not answered for")
            finally:
                with self._lock:
                    self.busy -= 1
                    self._rest.notify_all()

    def _next(self) -> Job | None:
        """Return the next job; None for a thread that is one too many."""
        with self._lock:
            self._work.wait_for(lambda: self._line or self._threads > self.limit)
            if self._threads > self.limit:
                self._threads -= 1
                return None
            self.busy += 1
            return self._line.popleft()
