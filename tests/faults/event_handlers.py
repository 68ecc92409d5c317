"""Handlers that write down what they handle, and fail as their events tell them to.

``do`` in an event's data is *crash* (the process dies in the middle of its batch), *raise* (the call does), *return*
(the event, and what follows of its key, is returned as failed), each once, or *poison*: raised whenever it comes.
"""

from __future__ import annotations

import os
import signal
import time
from functools import cache
from pathlib import Path

from event_books import BOOKS, Book

from omx_tasks.events.handlers import on
from omx_tasks.events.types import Event

TYPES = "ledger.*"
CRASH, RAISE, RETURN, POISON = "crash", "raise", "return", "poison"


class ToldToFailError(Exception):
    """What an event wanted."""


@on(TYPES, name="ledger", batch=100, backoff=0.2, begins="oldest")
def note(events: list[Event]) -> list[Event]:
    """Write down each event; return those that are to come again."""
    failed: list[Event] = []
    for event in events:
        if _trouble(event) or any(event.key == one.key for one in failed):
            failed.append(event)
        else:
            number = event.data["n"]
            _book().write(f"{event.key} {event.priority:d} {number} {time.monotonic():.6f}")
    return failed


def _trouble(event: Event) -> bool:
    """Make the trouble that an event wants; True where it is to be returned."""
    do = event.data.get("do")
    if do == POISON:
        raise ToldToFailError(event.id)
    if do is None or not _is_first(event.id):
        return False
    if do == CRASH:
        os.kill(os.getpid(), signal.SIGKILL)
    if do == RAISE:
        raise ToldToFailError(event.id)
    return True


def _is_first(event_id: str) -> bool:
    """Whether this event has made no trouble yet, in whatever process."""
    try:
        (Path(os.environ[BOOKS]) / f"trouble-{event_id}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@cache
def _book() -> Book:
    return Book("handled")
