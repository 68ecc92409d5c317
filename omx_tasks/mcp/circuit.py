"""Whether calls to a server are made at all: a circuit breaker, one for each server of an agent.

::

               failures in a row, or one that left no session
      closed ────────────────────────────────────────────────► open ◄──────────────────┐
      ▲  ▲ ▲                                                    │ its pause is over    │
      │  │ └─ an answer to any call: the failures are forgotten ▼                      │ the server is silent,
      │  │                                                   half-open ────────────────┘ or does not start:
      │  └────────────── the server answers ────────────────────┘                        a longer pause
      └─ (until a call was answered too, one more failure opens it again, for longer)

A failure is the server's: it does not start, its connection was lost, a call timed out. An error that a tool answers
with is an answer. The probe of the half-open state is a question of our own (``tools/list``, or the handshake of a new
process), not one of the operations: a write that is tried out on a server that hangs would end as unknown.

Libraries (purgatory, aiobreaker, pybreaker) wrap a block of code, pause for a constant time and try it out with the
callers' own calls, all that come meanwhile. Here failures are told from three places (starts, deaths, calls), pauses
grow, and the probe is none of the calls, so of such a library the counter would be left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeAlias

from omx_tasks.errors import OperationError
from omx_tasks.mcp.backoff import equal_jitter

State: TypeAlias = Literal["closed", "open", "half-open"]

#: Failures in a row that open it.
MOST = 3
#: Seconds: the first pause, and the longest.
PAUSE, LONGEST_PAUSE = 0.5, 30.0


class Circuit:
    """One server's. ``changed`` gets the circuit and its state before; ``clock`` returns seconds."""

    def __init__(
        self,
        server: str,
        changed: Callable[[Circuit, State], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self.state: State = "closed"
        #: The last failure.
        self.reason: OperationError | None = None
        self._changed = changed
        self._clock = clock
        self._failures = 0
        self._openings = 0
        self._probe_at = 0.0
        self._unwell_since = 0.0

    def __repr__(self) -> str:
        return f"<Circuit {self.server} {self.state} failures={self._failures}>"

    @property
    def closed(self) -> bool:
        """Whether calls are made."""
        return self.state == "closed"

    @property
    def pause(self) -> float:
        """Seconds that are left until the probe."""
        return max(0.0, self._probe_at - self._clock())

    @property
    def unwell(self) -> float:
        """Seconds since it was closed last; 0 while it is."""
        return 0.0 if self.closed else self._clock() - self._unwell_since

    def answered(self) -> None:
        """A call was answered: what failed before is over."""
        if self.closed:
            self._failures = self._openings = 0

    def failed(self, error: OperationError, *, fatal: bool = False) -> None:
        """Count a failure; a ``fatal`` one leaves nothing that could be called."""
        self.reason = error
        self._failures += 1
        if self.closed and (fatal or self._failures >= MOST):
            self._unwell_since = self._clock()
            self._open()
        elif self.state == "half-open":
            self._open()

    def refusal(self) -> OperationError:
        """Return the error of a call that is not made."""
        reason = self.reason or OperationError("server", "nothing is known")
        return OperationError(
            "server",
            f"server {self.server!r} is not called for {self.pause:.1f} s, after {self._failures} "
            f"failures in a row; the last was: {reason.message}",
        )

    def probe(self) -> None:
        """The pause is over: the server is asked."""
        if self.state == "open":
            self._become("half-open")

    def mended(self) -> None:
        """The server answers: calls are made, and one failure before an answer ends that."""
        if not self.closed:
            self._failures = MOST - 1
            self._become("closed")

    def _open(self) -> None:
        self._probe_at = self._clock() + equal_jitter(self._openings, PAUSE, LONGEST_PAUSE)
        self._openings += 1
        self._become("open")

    def _become(self, state: State) -> None:
        before, self.state = self.state, state
        self._changed(self, before)
