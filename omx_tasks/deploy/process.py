"""One process of a system on this machine: started, started again after it died, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omx_tasks.cluster.launch import Launched, launch

#: Seconds: the first pause before a new start, the longest one, and how long a process must have lived for its
#: end to count as the first one again.
FIRST_PAUSE, LONGEST_PAUSE, SETTLED = 0.5, 30.0, 30.0
#: Seconds in which one must end after SIGKILL.
KILL = 5.0
TAIL = 2000


@dataclass
class Process:
    """A command that is kept running, bound to this process; its output is appended to ``log``."""

    name: str
    command: list[str]
    log: Path
    launched: Launched | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    next_start: float | None = None
    _log_began: int = 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.launched is not None and not self.launched.ended.is_set()

    def start(self, environ: Mapping[str, str]) -> None:
        """Start it with this environment; it dies when this process does."""
        self._log_began = self.log.stat().st_size if self.log.exists() else 0
        self.started, self.next_start = time.monotonic(), None
        self.launched = launch(self.command, self.log, bound=True, environ=environ)

    def plan_next_start(self) -> float:
        """Note that it died; return the seconds after which it is to be started again."""
        pause = FIRST_PAUSE if time.monotonic() - self.started > SETTLED else self.pause
        self.pause = min(pause * 2, LONGEST_PAUSE)
        self.next_start = time.monotonic() + pause
        return pause

    @property
    def is_due(self) -> bool:
        """Whether the pause before the next start is over."""
        return self.next_start is not None and time.monotonic() >= self.next_start

    def tail(self) -> str:
        """Return the end of what it wrote since it was started last."""
        with contextlib.suppress(OSError), self.log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(self._log_began, size - TAIL))
            return stream.read().decode("utf-8", errors="replace").strip()
        return ""


def end_all(processes: Sequence[Process], grace: float) -> None:
    """End all at once: SIGTERM, and SIGKILL for what is left after ``grace`` seconds."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, KILL)):
        alive = [process.launched for process in processes if process.launched and process.alive]
        for launched in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(launched.pid, number)
        deadline = time.monotonic() + patience
        for launched in alive:
            launched.ended.wait(max(0.0, deadline - time.monotonic()))
