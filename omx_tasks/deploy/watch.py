"""Finds agents that are there and do nothing any more: stopped, or with a loop that is blocked.

::

    pulse moves ──► well ◄──────────────────────────────┐
        └── it does not move: looked at once a second ──┴──► for too long ──► hung

Only seconds count in which this process itself was awake and on time: on a machine that was paused, or is so busy that
nobody gets on, no agent is taken for hung. An agent that has not shown a pulse yet has longer: it opens its sessions.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from omx_tasks.agents.health.pulse import file_of

#: Seconds between two looks; and from one to the next from which on this process was not on time.
EVERY, LATE = 1.0, 2.5
#: Seconds that an agent has until its first pulse.
START = 120.0
#: The time of a file that no agent has touched yet.
UNBORN = 0


@dataclass
class _Seen:
    """What was seen of one process: its last pulse, and for how many seconds that has not moved."""

    pid: int
    pulse: int
    still: float = 0.0
    began: bool = False


class Watch:
    """Looks at the pulses in ``folder``; ``hung``: seconds without one after which an agent is hung (0: never)."""

    def __init__(
        self, folder: Path, hung: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._hung, self._clock = folder, hung, clock
        self._seen: dict[str, _Seen] = {}
        self._looked = clock()

    def __repr__(self) -> str:
        return f"<Watch {self._seen}>"

    def expect(self, name: str) -> None:
        """Make the file of an agent that is about to be started."""
        file = file_of(self._folder, name)
        with contextlib.suppress(OSError):
            file.touch()
            os.utime(file, ns=(UNBORN, UNBORN))

    def forget(self, name: str) -> None:
        """Remove the file of an agent that is gone for good."""
        self._seen.pop(name, None)
        with contextlib.suppress(OSError):
            file_of(self._folder, name).unlink(missing_ok=True)

    def look(self, agents: Mapping[str, int]) -> dict[str, float]:
        """Return those of the agents (name and process id) that are hung, and for how long, if it is time to look."""
        passed = self._clock() - self._looked
        if passed < EVERY or not self._hung:
            return {}
        self._looked += passed
        for name, pid in agents.items():
            self._see(name, pid, passed if passed < LATE else 0.0)
        return {
            name: one.still
            for name in agents
            if (one := self._seen.get(name)) and one.still >= (self._hung if one.began else START)
        }

    def _see(self, name: str, pid: int, passed: float) -> None:
        try:
            pulse = file_of(self._folder, name).stat().st_mtime_ns
        except OSError:  # nobody can tell
            self._seen.pop(name, None)
            return
        one = self._seen.get(name)
        if one is None or one.pid != pid:
            self._seen[name] = _Seen(pid, pulse, began=pulse != UNBORN)
        elif one.pulse != pulse:
            one.pulse, one.still, one.began = pulse, 0.0, True
        else:
            one.still += passed
