"""One process of a system on this machine: started, started again after it died, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omx_tasks.cluster.launch import Launched, launch

#: Seconds: the first pause before a new start, the longest one, and how long a process must have lived for its
#: end to count as the first one again.
FIRST_PAUSE, LONGEST_PAUSE, SETTLED = 0.5, 30.0, 30.0
#: Seconds in which one must end after SIGQUIT, and after SIGKILL.
HURRY, KILL = 3.0, 5.0
#: Seconds between two looks whether there is a hurry.
MOMENT = 0.1
TAIL = 2000


#: Starts a command, bound to this process, with its output appended to a file, and this environment.
Launcher = Callable[[list[str], Path, Mapping[str, str]], Launched]


def execute(command: list[str], log: Path, environ: Mapping[str, str]) -> Launched:
    """Start a program."""
    return launch(command, log, bound=True, environ=environ)


@dataclass
class Process:
    """A command that is kept running, bound to this process; its output is appended to ``log``.

    ``launcher`` starts it: as a program, or as a fork that takes the command for its arguments.
    """

    name: str
    command: list[str]
    log: Path
    launcher: Launcher = execute
    launched: Launched | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    next_start: float | None = None
    #: How often it ended soon after its start, one time after the other.
    deaths: int = 0
    #: Why it was ended by who keeps it, if it was: that is its end then.
    doom: str = ""
    #: What its last end was, in words.
    reason: str = ""
    _log_began: int = 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.launched is not None and not self.launched.ended.is_set()

    def start(self, environ: Mapping[str, str]) -> None:
        """Start it with this environment; it dies when this process does."""
        self._log_began = self.log.stat().st_size if self.log.exists() else 0
        self.started, self.next_start, self.doom = time.monotonic(), None, ""
        self.launched = self.launcher(self.command, self.log, environ)
        self.started = time.monotonic()  # a launcher may have waited for what it forks from

    def plan_next_start(self) -> float:
        """Note that it died; return the seconds after which it is to be started again."""
        settled = time.monotonic() - self.started > SETTLED
        self.deaths = 1 if settled else self.deaths + 1
        self.reason = self._how_it_ended()
        pause = FIRST_PAUSE if settled else self.pause
        self.pause = min(pause * 2, LONGEST_PAUSE)
        self.next_start = time.monotonic() + pause
        return pause

    def start_again_soon(self) -> None:
        """Note that it ended in good order, which is no death, and is to be started again."""
        self.reason = self._how_it_ended()
        self.next_start = time.monotonic() + FIRST_PAUSE

    def start_within(self, seconds: float) -> None:
        """Start it again after so many seconds at most."""
        if self.next_start is not None:
            self.next_start = min(self.next_start, time.monotonic() + seconds)

    @property
    def ended_well(self) -> bool:
        """Whether it has ended by itself, in good order."""
        return self.launched is not None and self.launched.status == 0

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

    def _how_it_ended(self) -> str:
        if self.doom:
            return self.doom
        status = None if self.launched is None else self.launched.status
        if status is None:
            return "ended"
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"


def end_all(
    processes: Sequence[Process], grace: float, hurried: threading.Event | None = None
) -> None:
    """End all at once: SIGTERM, and SIGKILL for what is left after ``grace`` seconds.

    Where they are ``hurried`` before, an agent gives up what is under way (SIGQUIT), and has seconds for that.
    """
    hurried = hurried or threading.Event()
    steps = ((signal.SIGTERM, grace), (signal.SIGQUIT, HURRY), (signal.SIGKILL, KILL))
    for number, patience in steps:
        alive = [process.launched for process in processes if process.launched and process.alive]
        if number == signal.SIGQUIT and not hurried.is_set():
            continue
        for launched in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(launched.pid, number)
        may_be_hurried = hurried if number == signal.SIGTERM else threading.Event()
        _wait(alive, time.monotonic() + patience, may_be_hurried)


def _wait(alive: Sequence[Launched], deadline: float, hurried: threading.Event) -> None:
    """Wait until all have ended, or somebody is in a hurry."""
    for launched in alive:
        while not launched.ended.wait(min(MOMENT, max(0.0, deadline - time.monotonic()))):
            if hurried.is_set() or time.monotonic() >= deadline:
                return
