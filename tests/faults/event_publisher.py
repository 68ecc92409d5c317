"""A process that publishes events: ``python event_publisher.py KIND FIRST RATE SEED KEY…``.

Events are numbered from ``FIRST``; they come one by one and in batches, of all priorities, ``RATE`` a second, and some
tell their handler to fail. The book is ``KIND``'s. SIGUSR1 makes events large, SIGUSR2 small again; SIGTERM ends it in
order, SIGKILL may come at any time.
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
from collections.abc import Iterator
from dataclasses import asdict

from event_books import ENDED, REFUSED, SAID, STORED, Book
from event_handlers import CRASH, POISON, RAISE, RETURN

from omx_tasks.errors import OmxError
from omx_tasks.events.bus import Draft, default
from omx_tasks.priorities import Priority

READY = b"publishing"
#: The environment variable that says how many times as often as usual calls fail.
OFTEN = "EVENT_TROUBLES"
#: How many events one of each kind of trouble comes in.
TROUBLES = {CRASH: 25_000, RAISE: 4_000, RETURN: 4_000, POISON: 25_000}
#: Events of a batch at most, how many of ten publishes are of one event alone, and characters of a large event.
MANY, ALONE, LARGE = 100, 3, 20_000
#: Seconds between two looks whether all is stored; and for the last one.
LOOK, LAST = 0.1, 90.0


class Publisher:
    """Publishes in one thread, and notes in another one what is stored."""

    def __init__(self, kind: str, first: int, seed: int, keys: list[str]) -> None:
        self._book, self._bus = Book(kind), default()
        self._numbers, self._random, self._keys = itertools.count(first), random.Random(seed), keys
        self._told, self._often = 0, int(os.environ.get(OFTEN, "1"))
        self.padding = 0
        self.over = threading.Event()

    def publish(self, rate: float) -> None:
        """Publish until it is over; what was missed is not made up for."""
        due = time.monotonic()
        while not self.over.is_set():
            alone = self._random.randrange(10) < ALONE
            count = 1 if alone else self._random.randint(2, MANY)
            self._publish(list(self._drafts(count)))
            due = max(due + count / rate, time.monotonic())
            self.over.wait(due - time.monotonic())

    def _drafts(self, count: int) -> Iterator[Draft]:
        for number in itertools.islice(self._numbers, count):
            data = {"n": number, "pad": "x" * self.padding}
            for trouble, events in TROUBLES.items():
                often = 1 if trouble == CRASH else self._often
                if self._random.randrange(events) < often:
                    data["do"] = trouble
            priority = Priority(self._random.randrange(len(Priority)))
            yield Draft("ledger.entry", data, priority, self._random.choice(self._keys))

    def _publish(self, drafts: list[Draft]) -> None:
        began = time.monotonic()
        try:
            if len(drafts) == 1:
                one = drafts[0]
                self._bus.publish(one.type, one.data, priority=one.priority, key=one.key)
            else:
                self._bus.publish_many(drafts)
        except OmxError as error:
            self._book.write(f"{REFUSED} {len(drafts)} {time.monotonic() - began:.3f}")
            print(f"refused: {error}", flush=True)
            return
        waited = time.monotonic() - began
        self._book.write(*(_line(draft, waited) for draft in drafts))
        self._told += len(drafts)

    def watch(self) -> None:
        """Note again and again what is stored by now."""
        while not self.over.wait(LOOK):
            told = self._told
            if self._bus.flush(LOOK):
                self._book.write(f"{STORED} {told}")

    def end(self) -> None:
        """Have all stored, and say so."""
        stored = self._bus.flush(LAST)
        counts = asdict(self._bus.counts)
        self._bus.close()
        self._book.write(f"{SAID} {json.dumps(counts)}", *([ENDED] if stored else []))


def _line(draft: Draft, waited: float) -> str:
    assert draft.data is not None
    trouble = f" {POISON}" if draft.data.get("do") == POISON else ""
    return f"{draft.key} {draft.priority:d} {draft.data['n']} {waited:.3f}{trouble}"


def main() -> None:
    """Publish until SIGTERM."""
    kind, first, rate, seed, *keys = sys.argv[1:]
    publisher = Publisher(kind, int(first), int(seed), keys)
    signal.signal(signal.SIGUSR1, lambda *_: setattr(publisher, "padding", LARGE))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(publisher, "padding", 0))
    signal.signal(signal.SIGTERM, lambda *_: publisher.over.set())
    threads = [
        threading.Thread(target=publisher.publish, args=(float(rate),)),
        threading.Thread(target=publisher.watch),
    ]
    for thread in threads:
        thread.start()
    print(READY.decode(), flush=True)
    for thread in threads:
        thread.join()
    publisher.end()


if __name__ == "__main__":
    main()
