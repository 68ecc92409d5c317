"""What follows the end of an operation: its outcome is stored, what became ready is published, then it is over.

::

    finish ──stored──► what became ready is published ─────────────────confirmed──┐
       └──confirmed──► what the answer names now and did not before is published ─┴──► over

Nobody waits for a replica on this way but the message of the operation itself, which is acknowledged when it is over:
a successor may be on its way, or be called here, while its release is not confirmed yet. Should the release be lost
with its node, it is made again from here; and whoever got the successor's message meanwhile was told that he is early.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from omx_tasks.errors import OmxError
from omx_tasks.results import joins
from omx_tasks.results.joins import Following, Start

logger = logging.getLogger(__name__)

#: Publishes operations that became ready; tells each time when that, or a part of it, was confirmed or not.
#: Returns how often it will tell.
Publish = Callable[[Sequence[str], Callable[[Any], None]], int]


class Settling:
    """One operation's end. ``over`` is told once: with the first error, if there was one. Lives on one loop.

    ``told`` hears of the outcome when it is confirmed, with the state of the run where that was the run's end.
    """

    def __init__(
        self,
        publish: Publish,
        over: Callable[[OmxError | None], None],
        told: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._following: Following | None = None
        self._go_on: Callable[[Start | None], None] = lambda _: None
        self._publish = publish
        self._over = over
        self._told = told
        self._published: set[str] = set()
        self._open = 1  # the outcome itself
        self._error: OmxError | None = None

    def __repr__(self) -> str:
        return f"<Settling open={self._open}>"

    def may_go_on(self, following: Following, go_on: Callable[[Start | None], None]) -> None:
        """Have ``go_on`` told by each answer how ``following`` was begun, or None where it was not."""
        self._following, self._go_on = following, go_on

    def stored(self, answer: Any) -> None:
        """Go on with what follows, and publish what else became ready."""
        try:
            ready, begun, _ = joins.finished(answer, self._following)
            self._go_on(begun)
            names = [name for name in ready if name not in self._published]
            if names:
                self._published.update(names)
                self._open += self._publish(names, self._answered)
        except Exception as error:  # a fault of ours must not keep the message for ever
            logger.exception("what became ready could not be published")
            self._error = OmxError(f"internal error: {error}")

    def confirmed(self, answer: Any) -> None:
        """Take the answer to `finish`, or the `OmxError` that came for it."""
        if isinstance(answer, OmxError):
            self._go_on(None)
        else:
            self.stored(answer)
            self._told(joins.finished(answer).over)
        self._answered(answer)

    def _answered(self, answer: Any) -> None:
        if isinstance(answer, OmxError):
            self._error = self._error or answer
        self._open -= 1
        if self._open == 0:
            self._over(self._error)
