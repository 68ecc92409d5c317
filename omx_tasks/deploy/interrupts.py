"""SIGINT and SIGTERM while something is begun or ended that must not be left half done.

Python raises `KeyboardInterrupt` between any two instructions of the main thread. A process that was started a moment
before would not be known to anyone; a folder would be half removed.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any


class Terminated(KeyboardInterrupt):
    """SIGTERM: nobody is there to be asked anything."""


SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[threading.Event]:
    """Set the event instead of interrupting; a signal that came is raised at the end, unless an error is."""
    asked, numbers = threading.Event(), list[int]()

    def note(number: int, _frame: object) -> None:
        numbers.append(number)
        asked.set()

    with _handled_by(note):
        yield asked
    if numbers:
        raise Terminated if signal.SIGTERM in numbers else KeyboardInterrupt


@contextmanager
def ignored() -> Iterator[None]:
    """Finish what is being ended, however often Ctrl-C is pressed."""
    with _handled_by(lambda *_: None):
        yield


def wait_for_one() -> None:
    """Return at the first signal; from then on they interrupt nothing."""
    asked = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: asked.set())
    asked.wait()


def wait_for_line(stream: IO[str]) -> None:
    """Return when a line, or the end of the input, can be read from a terminal.

    A signal that comes just before a read begins does not end the read: Ctrl-C would be felt at the next key only. So
    the wait is for the input and for signals alike. To be called in the main thread.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told)
    try:
        select.select([stream.fileno(), heard], [], [])
    finally:
        signal.set_wakeup_fd(before)
        os.close(heard)
        os.close(told)


@contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
    """Have a handler for both signals; where this is not the main thread, none is needed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
