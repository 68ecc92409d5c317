"""Priorities at full length: ``python tests/ledger/priorities.py [--flood N] [--mixed N] [--trips N]``.

First the round trips of P0 tasks to an idle worker, then to one that works off a flood of P3 tasks in the same
queue, and how many of those ran before each P0. Then the order in which a worker with one slot works off a mixture.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from celery import Celery
from ledger_app import LATE, NOTE
from ledger_file import Ledger
from ledger_order import disorder, ran_before
from ledger_workers import ledger_worker

from omx_tasks.bench.sides import Side, our_side

QUEUE, MIXED = "priorities", "mixed"
PAUSE = 0.01
TIMEOUT = 60.0
WARM_UP = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flood", type=int, default=50_000)
    parser.add_argument("--mixed", type=int, default=10_000)
    parser.add_argument("--trips", type=int, default=300)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="omx-priorities-") as name:
        folder = Path(name)
        with our_side(folder / "ours") as side, Celery("urgent", set_as_current=False) as app:
            app.conf.update({**side.settings, **LATE})
            flood(folder, side, app, options.flood, options.trips)
            mixture(folder, side, app, options.mixed)


def flood(folder: Path, side: Side, app: Celery, count: int, trips: int) -> None:
    """Print the round trips of P0, idle and in a flood of P3."""
    ledger = Ledger(folder / "flood")
    with _worker(folder, side, ledger, "two", QUEUE):
        _round_trips(app, [count + 2 * trips] * WARM_UP)
        idle, _ = _round_trips(app, range(count, count + trips))
        _publish(app, QUEUE, dict.fromkeys(range(count), 3))
        flooded, sent = _round_trips(app, range(count + trips, count + 2 * trips))
        entries = list(ledger.entries())
    left = count - sum(entry.number < count for entry in entries)
    before = ran_before(
        [entry for entry in entries if not count <= entry.number < count + trips], sent
    )
    print(f"P0 round trip, idle:            {_percentiles(idle)}")
    print(f"P0 round trip, {count} P3 waiting: {_percentiles(flooded)}; {left} P3 left at the end")
    print(f"P3 that ran before a P0: median {statistics.median(before)}, most {max(before)}")


def mixture(folder: Path, side: Side, app: Celery, count: int) -> None:
    """Print in which order one slot works off messages of all priorities."""
    chance, ledger = random.Random(1), Ledger(folder / "mixed")
    priorities = [chance.randrange(4) for _ in range(count)]
    _publish(app, MIXED, dict(enumerate(priorities)))
    with _worker(folder, side, ledger, "one", MIXED):
        deadline = time.monotonic() + TIMEOUT
        while len(ledger.entries()) < count and time.monotonic() < deadline:
            time.sleep(PAUSE)
    found = disorder(ledger.entries(), priorities)
    print(
        f"{len(ledger.entries())} of {count} mixed messages: {found.inverted} ran after a less urgent one, "
        f"{found.overtaken} after a younger one"
    )


def _publish(app: Celery, queue: str, priorities: dict[int, int]) -> None:
    with app.producer_or_acquire() as producer, producer.batch():
        for number, priority in priorities.items():
            options: dict[str, Any] = {"queue": queue, "priority": priority}
            app.send_task(NOTE, (number,), producer=producer, ignore_result=True, **options)


def _round_trips(app: Celery, numbers: Iterable[int]) -> tuple[list[float], dict[int, float]]:
    seconds, sent = [], {}
    for number in numbers:
        sent[number] = time.monotonic()
        app.send_task(NOTE, (number,), queue=QUEUE, priority=0).get(timeout=TIMEOUT)
        seconds.append(time.monotonic() - sent[number])
    return seconds, sent


def _percentiles(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return f"p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms"


@contextmanager
def _worker(folder: Path, side: Side, ledger: Ledger, kind: str, queue: str) -> Iterator[None]:
    worker = ledger_worker(folder, kind, kind, side.settings, ledger.path, queue)
    try:
        worker.start().wait_until_ready()
        yield
    finally:
        worker.stop()


if __name__ == "__main__":
    main()
