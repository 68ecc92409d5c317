"""What a coordinator does again and again while it leads: each duty has a thread of its own.

::

    waits for a term ──► is done ──succeeded──► rests for `every` seconds ──► waits for a term …
                            └───────failed────► rests longer each time (counted, and shown)

A duty that is slow, hangs or fails holds up no other. It may be done twice at once for a moment (see `leader`), so each
must stand that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from omx_tasks.coordination.leader import Leader, NotLeadingError, Term
from omx_tasks.errors import OmxError

logger = logging.getLogger(__name__)

#: Seconds for which a duty rests at most that fails.
LONGEST = 60.0


@dataclass(frozen=True)
class Duty:
    """``do`` is called ``every`` so many seconds with the leader's term; it says in words what it did, if anything.

    Whatever it asks of the cluster goes through ``term.store``.
    """

    name: str
    every: float
    do: Callable[[Term], str | None]

    def rest(self, failing: int) -> float:
        """Return the seconds until it is done again, after it has failed so many times in a row."""
        return self.every if not failing else max(self.every, min(LONGEST, 0.5 * 2**failing))


@dataclass
class Course:
    """How a duty goes in one process. ``last``: when it was begun (Unix seconds); ``seconds``: what it took.

    ``failing`` counts the failures since it succeeded last; ``error`` is the last one, until it succeeds; ``said`` is
    what it did when it did something. ``running`` is true while it is under way.
    """

    every: float
    runs: int = 0
    failures: int = 0
    failing: int = 0
    last: float | None = None
    seconds: float | None = None
    running: bool = False
    error: str | None = None
    said: str | None = None


class Keeper:
    """Does one duty whenever this process leads. `start` it once, `stop` it once."""

    def __init__(self, duty: Duty, leader: Leader) -> None:
        self.duty = duty
        self.course = Course(duty.every)
        self._leader = leader
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"duty {duty.name}", daemon=True)

    def __repr__(self) -> str:
        return f"<Keeper {self.duty.name} {self.course}>"

    def as_json(self) -> dict[str, Any]:
        """Return how the duty goes."""
        return asdict(self.course)

    def start(self) -> None:
        """Begin to wait for a term."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait until what is under way has ended; False when it took longer."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            term = self._leader.wait()
            if term is None or self._stopping.is_set():
                return
            self._do(term)
            self._stopping.wait(self.duty.rest(self.course.failing))

    def _do(self, term: Term) -> None:
        course, began = self.course, time.monotonic()
        course.last, course.running = time.time(), True
        try:
            said = self.duty.do(term)
        except NotLeadingError:
            logger.info("%s: left to another coordinator", self.duty.name)
        except OmxError as error:
            self._failed(error)
        except (
            Exception
        ) as error:  # a fault of ours is shown like any other, and must not end the duty
            logger.exception("%s met a fault of its own", self.duty.name)
            self._failed(error)
        else:
            course.runs += 1
            self._succeeded(said)
        finally:
            course.seconds, course.running = time.monotonic() - began, False

    def _succeeded(self, said: str | None) -> None:
        course = self.course
        if course.failing:
            logger.warning("%s goes on, after %d failures", self.duty.name, course.failing)
        course.failing, course.error = 0, None
        if said:
            course.said = said
            logger.info("%s: %s", self.duty.name, said)

    def _failed(self, error: Exception) -> None:
        course = self.course
        course.failures += 1
        course.failing += 1
        course.error = str(error) or type(error).__name__
        rest = self.duty.rest(course.failing)
        logger.warning(
            "%s failed (%d times now), again in %g s: %s",
            self.duty.name,
            course.failing,
            rest,
            course.error,
        )
