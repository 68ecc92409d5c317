"""Priorities at full length: ``python tests/ledger/priorities.py [--flood N] [--mixed N] [--trips N]``.

First the round trips of P0 tasks: to an idle worker; while a flood of P3 tasks lies on the same server in a queue that
nobody consumes; and while the worker works off such a flood in the same queue, with how many of those ran before each
P0. Then the order in which a worker with one slot works off a mixture.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from celery import Celery
from ledger_app import LATE, NOTE
from ledger_file import Ledger
from ledger_order import disorder, ran_before
from ledger_workers import ledger_worker

from omx_tasks.bench.loads import percentile
from omx_tasks.bench.sides import Side, our_side
from omx_tasks.broker.many import publish_many
from omx_tasks.broker.pattern import TaskCall
from omx_tasks.store import keys
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store
from omx_tasks.store.topology import slot_of

QUEUE, MIXED = "priorities", "mixed"
PAUSE = 0.01
TIMEOUT = 60.0
WARM_UP = 10
#: How much longer than idle the p99 of P0 may be while P3 lies there.
GOAL = 1.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flood", type=int, default=50_000)
    parser.add_argument("--mixed", type=int, default=10_000)
    parser.add_argument("--trips", type=int, default=1000)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="omx-priorities-") as name:
        folder = Path(name)
        with our_side(folder / "ours") as side, Celery("urgent", set_as_current=False) as app:
            app.conf.update({**side.settings, **LATE})
            flood(folder, side, app, options.flood, options.trips)
            mixture(folder, side, app, options.mixed)


def flood(folder: Path, side: Side, app: Celery, count: int, trips: int) -> None:
    """Print the round trips of P0: idle, beside a queue of P3 that nobody consumes, and while P3 is worked off."""
    ledger = Ledger(folder / "flood")
    numbers = [range(count + part * trips, count + (part + 1) * trips) for part in range(3)]
    with _worker(folder, side, ledger, "two", QUEUE):
        _round_trips(app, [count + 3 * trips] * WARM_UP)
        idle, _ = _round_trips(app, numbers[0])
        _publish(app, _on_the_same_node(side), dict.fromkeys(range(count), 3))
        paused, _ = _round_trips(app, numbers[1])
        _publish(app, QUEUE, dict.fromkeys(range(count), 3))
        flooded, sent = _round_trips(app, numbers[2])
        entries = list(ledger.entries())
    left = count - sum(entry.number < count for entry in entries)
    before = ran_before(
        [entry for entry in entries if entry.number < count or entry.number in numbers[2]], sent
    )
    print(f"P0 round trip, idle:                {_percentiles(idle)}")
    print(
        f"P0 round trip, {count} P3 paused:     {_percentiles(paused)}, {_compared(paused, idle)}"
    )
    print(
        f"P0 round trip, {count} P3 drained:    {_percentiles(flooded)}, {_compared(flooded, idle)}"
    )
    print(
        f"P3 left at the end: {left}; before a P0 ran: median {statistics.median(before)}, most {max(before)}"
    )


def _on_the_same_node(side: Side) -> str:
    """Return a queue that no worker consumes, on the master that has the queue of P0."""
    with closing(Store(side.settings["broker_url"])) as store:
        store.ping(TIMEOUT)

        def owner(queue: str) -> Node | None:
            return store.topology.owner(slot_of(keys.meta(queue)))

        names = (f"paused-{number}" for number in itertools.count())
        return next(name for name in names if owner(name) == owner(QUEUE))


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
    calls = [TaskCall((number,), priority=priority) for number, priority in priorities.items()]
    publish_many(NOTE, calls, app=app, queue=queue, ignore_result=True)


def _round_trips(app: Celery, numbers: Iterable[int]) -> tuple[list[float], dict[int, float]]:
    seconds, sent = [], {}
    for number in numbers:
        sent[number] = time.monotonic()
        app.send_task(NOTE, (number,), queue=QUEUE, priority=0).get(timeout=TIMEOUT)
        seconds.append(time.monotonic() - sent[number])
    return seconds, sent


def _percentiles(seconds: list[float]) -> str:
    p50, p99 = (percentile(seconds, percent) * 1000 for percent in (50, 99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def _compared(seconds: list[float], idle: list[float]) -> str:
    ratio = percentile(seconds, 99) / percentile(idle, 99)
    return f"p99 {ratio:.2f}x of idle (goal ≤ {GOAL}x)"


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
