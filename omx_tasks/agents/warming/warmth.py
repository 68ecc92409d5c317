"""How warm one server is on one agent.

::

    cold ──needed soon, or called──► warming ──open──► warm ──unused for long, or worth least──► evicted
     ▲                                │ does not start   │ died, and does not start                 │
     ├────────────────────────────────┴──────────────────┘                                          │
     └──(its keeper tries again)                warming ◄──needed soon, or called───────────────────┘

The state is a matter of this agent alone, and it does nothing by itself: see `warmer`. What it costs is counted: calls
that had to wait for the server (cold starts), and the seconds for which it was open before its first call (wasted).
"""

from __future__ import annotations

from enum import StrEnum

from omx_tasks.agents.warming.worth import Frequency


class State(StrEnum):
    """Where a server stands."""

    COLD = "cold"
    WARMING = "warming"
    WARM = "warm"
    EVICTED = "evicted"


_ALLOWED = frozenset(
    {
        (State.COLD, State.WARMING),
        (State.WARMING, State.WARM),
        (State.WARMING, State.COLD),
        (State.WARM, State.COLD),
        (State.WARM, State.EVICTED),
        (State.EVICTED, State.WARMING),
    }
)


class Warmth:
    """One server's. Times are seconds of one clock, which the caller reads."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.state = State.COLD
        self.frequency = Frequency()
        #: Calls that had to wait for the server, and how often it was opened and closed again.
        self.cold_starts = self.opened = self.evicted = 0
        #: When it was called last, or opened.
        self.used_at = 0.0
        self._opened_at: float | None = None
        #: Whether a call waits for it.
        self._called = False
        self._wasted = 0.0

    def __repr__(self) -> str:
        return f"<Warmth {self.server} {self.state}>"

    @property
    def is_cold(self) -> bool:
        """Whether it is neither open nor about to be."""
        return self.state in (State.COLD, State.EVICTED)

    def begin(self) -> None:
        """It is to be opened."""
        if self.is_cold:
            self._become(State.WARMING)

    def open(self, now: float) -> None:
        """It is open, or again."""
        self.begin()
        if self.state is State.WARMING:
            self._become(State.WARM)
            self.opened += 1
            self.used_at = now
            self._opened_at = None if self._called else now
            self._called = False

    def fail(self, now: float) -> None:
        """It could not be opened."""
        self._spent(now)
        if not self.is_cold:
            self._become(State.COLD)

    def evict(self, now: float) -> None:
        """It was closed, to be opened when it is needed."""
        self._spent(now)
        self._become(State.EVICTED)
        self.evicted += 1

    def call(self, now: float, *, cold: bool) -> None:
        """It is called; ``cold``: the call waits for it."""
        self.frequency.add(now)
        self.used_at = now
        if cold:
            self.cold_starts += 1
            self._called = True
            self.begin()
        else:
            self._spent(now)

    def wasted(self, now: float) -> float:
        """Return for how long it was open before it was called."""
        return self._wasted + (0.0 if self._opened_at is None else now - self._opened_at)

    def _spent(self, now: float) -> None:
        """Count what passed since it was opened, unless it was called meanwhile."""
        self._wasted, self._opened_at = self.wasted(now), None

    def _become(self, state: State) -> None:
        if (self.state, state) not in _ALLOWED:
            raise ValueError(f"{self.server} cannot become {state}: it is {self.state}")
        self.state = state
