"""A process that publishes all kinds of messages: ``python publisher.py FIRST RATE SEED QUEUE…``.

Numbers count from ``FIRST``. What it was told is in its book (`BOOK`, a `Ledger`'s file), a line a number: ``acked``,
``refused``; and of the tasks whose results are asked for, ``answered`` or ``unanswered``. SIGUSR1 lets it rest (each of
its threads writes ``rests``), SIGUSR2 go on; SIGTERM ends it. It may be killed and started again at will.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from celery import Celery
from celery.exceptions import TimeoutError as NoAnswerError
from celery.result import AsyncResult
from kombu.exceptions import OperationalError
from ledger_app import CONFIGURATION, ECHO, NOTE
from ledger_file import Ledger

from omx_tasks.broker.many import publish_many
from omx_tasks.broker.transport import register
from omx_tasks.errors import OmxError

BOOK = "PUBLISHER_BOOK"
READY = b"publishing"
ACKED, REFUSED, ANSWERED, UNANSWERED, RESTS = "acked", "refused", "answered", "unanswered", "rests"
#: How many threads of a publisher rest when it does.
THREADS = 2
ERRORS = (OmxError, OSError, OperationalError)
#: Messages of one `publish_many`, and results that are asked for at once.
MANY, ASKED = 20, 5
#: Seconds that a delayed message waits at most, and a result may take.
LATEST, ANSWER = 8.0, 60.0
#: Seconds between two tries to read a result.
PAUSE = 0.2


class Gate:
    """Where threads wait for their next turn: so many a second, none while it is shut."""

    def __init__(self, book: Ledger) -> None:
        self._book = book
        self._open, self._over = threading.Event(), threading.Event()
        self._open.set()

    def shut(self, *_signal: object) -> None:
        self._open.clear()

    def reopen(self, *_signal: object) -> None:
        self._open.set()

    def end(self, *_signal: object) -> None:
        self._over.set()
        self._open.set()

    def turns(self, seconds: float) -> Iterator[None]:
        """Give a turn every so many seconds; what was missed is not made up for."""
        due = time.monotonic()
        while not self._over.is_set():
            if not self._open.is_set():
                self._book.note(0, RESTS)
                self._open.wait()
            yield
            due = max(due + seconds, time.monotonic())
            self._over.wait(due - time.monotonic())


class Publisher:
    """Publishes, and asks for results; each in a thread of its own."""

    def __init__(
        self, app: Celery, book: Ledger, queues: list[str], numbers: Iterator[int], seed: int
    ) -> None:
        self._app, self._book, self._queues, self._numbers = app, book, queues, numbers
        self._random = random.Random(seed)
        self._kinds: tuple[Callable[[], None], ...] = (
            self._one,
            self._one,
            self._later,
            self._many,
        )

    def publish(self, turns: Iterator[None]) -> None:
        """Publish one by one, in batches, and for later."""
        for _ in turns:
            self._random.choice(self._kinds)()

    def _one(self) -> None:
        self._told(1, lambda numbers: self._send(NOTE, numbers[0], ignore_result=True))

    def _later(self) -> None:
        seconds = self._random.uniform(0.5, LATEST)
        self._told(
            1, lambda numbers: self._send(NOTE, numbers[0], ignore_result=True, countdown=seconds)
        )

    def _many(self) -> None:
        def publish(numbers: list[int]) -> object:
            calls = [((number,), None) for number in numbers]
            options = self._somewhere()
            return publish_many(
                NOTE, calls, app=self._app, ignore_result=True, retry=False, **options
            )

        self._told(MANY, publish)

    def ask(self, turns: Iterator[None]) -> None:
        """Publish tasks whose results are read."""
        for _ in turns:
            asked = {}
            for _ in range(ASKED):
                self._told(
                    1,
                    lambda numbers, asked=asked: asked.update(
                        {numbers[0]: self._send(ECHO, numbers[0])}
                    ),
                )
            until = time.monotonic() + ANSWER
            for number, result in asked.items():
                self._book.note(number, ANSWERED if _read(result, until) == number else UNANSWERED)

    def _told(self, count: int, publish: Callable[[list[int]], object]) -> None:
        """Publish so many numbers, and write down what was said."""
        numbers = list(itertools.islice(self._numbers, count))
        try:
            publish(numbers)
        except ERRORS as error:
            print(f"refused: {error}", flush=True)
            word = REFUSED
        else:
            word = ACKED
        for number in numbers:
            self._book.note(number, word)

    def _send(self, task: str, number: int, **options: object) -> AsyncResult:
        return self._app.send_task(task, (number,), retry=False, **self._somewhere(), **options)

    def _somewhere(self) -> dict[str, object]:
        return {"queue": self._random.choice(self._queues), "priority": self._random.randrange(4)}


def _read(result: AsyncResult, until: float) -> object:
    """Return a result, however often that has to be asked for; None where it does not come."""
    while (left := until - time.monotonic()) > 0:
        try:
            return result.get(timeout=left)
        except NoAnswerError:
            break
        except ERRORS as error:
            print(f"not read: {error}", flush=True)
            time.sleep(PAUSE)
    return None


def main() -> None:
    """Publish until SIGTERM."""
    first, rate, seed, *queues = sys.argv[1:]
    register()
    app = Celery("publisher")
    app.conf.update(json.loads(os.environ[CONFIGURATION]))
    book = Ledger(Path(os.environ[BOOK]))
    gate = Gate(book)
    for number, act in (
        (signal.SIGUSR1, gate.shut),
        (signal.SIGUSR2, gate.reopen),
        (signal.SIGTERM, gate.end),
    ):
        signal.signal(number, act)
    publisher = Publisher(app, book, queues, itertools.count(int(first)), int(seed))
    a_turn = (3 + MANY) / 4 / float(rate)  # messages that a turn publishes, on average
    threads = [
        threading.Thread(target=publisher.publish, args=(gate.turns(a_turn),)),
        threading.Thread(target=publisher.ask, args=(gate.turns(10 * ASKED / float(rate)),)),
    ]
    for thread in threads:
        thread.start()
    print(READY.decode(), flush=True)
    for thread in threads:
        thread.join()
    app.close()


if __name__ == "__main__":
    main()
