"""Events end to end: published here, handled in another process, on a cluster of the bench's own.

Rates come first, in batches and one by one, at each durability; beside them stock Celery on one Redis, where each event
is a plain task, and how late these come. Then how late events of each priority come at a gentle pace; then P0 alone
while many P3 events lie in their logs, untouched, and while they are worked off. Each of these has types of its own.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omx_tasks.bench import loads
from omx_tasks.bench.app import CONFIGURATION, LATE, TALLY, lateness
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.handling import SHARES, quantiles
from omx_tasks.bench.place import Measured, Row
from omx_tasks.bench.sides import Side, our_side, stock_side
from omx_tasks.bench.tally import Tally
from omx_tasks.bench.worker import Worker
from omx_tasks.durability import Durability, Promise
from omx_tasks.errors import OmxError
from omx_tasks.events.bus import Bus
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store

Say = Callable[[str], None]

STOCK = "stock Celery tasks"
DURABILITIES = (Durability.REPLICA, Durability.MEMORY)
#: Events that a handler of batches takes at a time, and events a second at a gentle pace.
BATCH, PACE = 100, 200.0
#: Seconds of that pace before it is measured, between two looks at how much is worked off, and whether it began.
WARM_UP, SLICE, PAUSE = 1.0, 0.25, 0.002


@dataclass(frozen=True)
class Size:
    """How much is measured: events in batches, one by one, in the logs of P3; seconds at a gentle pace."""

    batched: int = 100_000
    single: int = 20_000
    backlog: int = 100_000
    stock: int = 10_000
    seconds: float = 10.0


QUICK = Size(2_000, 500, 3_000, 500, 1.0)


def measure(size: Size, say: Say) -> Measured:
    """Measure; everything that this starts is gone when it returns or raises."""
    began = time.monotonic()
    rows: list[Row] = []
    with TemporaryDirectory(prefix="omx-bench-") as name:
        folder = Path(name)
        with our_side(folder / "ours") as side:
            url = side.settings["broker_url"]
            for durability in DURABILITIES:
                say(f"rates, durability {durability}")
                rows += _rates(url, durability, size)
            say("stock Celery")
            rows += _stock(folder, size)
            say("how late events come")
            rows += _lateness(url, size)
            say(f"P0 beside {size.backlog:,} of P3")
            rows += _urgent(url, size)
    rows += _beside_stock({row.title: row.value for row in rows})
    return Measured(size, rows, time.monotonic() - began)


# --- rates ------------------------------------------------------------------------------------------


def _rates(url: str, durability: Durability, size: Size) -> Iterator[Row]:
    goal = Goal("≥", 10_000)
    for title, batch, count in (("batches", BATCH, size.batched), ("single", 1, size.single)):
        name = f"{title}_{durability}"
        with _handling(url, name, durability, batch) as handling, _bus(url, durability) as bus:
            began = time.time()
            if batch > 1:
                drafts = [(f"{name}.done", {"n": n}, n % 4, str(n % 64)) for n in range(count)]
                bus.publish_many(drafts)
            else:
                for n in range(count):
                    bus.publish(f"{name}.done", {"n": n}, priority=n % 4, key=str(n % 64))
            _flush(bus)
            published = time.time() - began
            handled = handling.tell(count)["last"] - began
        say = f"{title}, {durability}"
        yield Row(f"published, {say}", count / published, "events/s")
        yield Row(f"handled, {say}", count / handled, "events/s", goal if batch > 1 else None)


def _stock(folder: Path, size: Size) -> Iterator[Row]:
    """Have a plain task be run for each event, by a worker that is there before."""
    with stock_side(folder / "stock") as side:
        tally, queue = Tally.create(folder / "tally"), "events"
        worker = _worker(folder, side, tally, queue).start().wait_until_ready()
        try:
            began, before = time.perf_counter(), tally.total
            published = loads.publish_singly(side, queue, size.stock)
            loads.wait_for(tally, before + size.stock)
            yield Row(f"published, {STOCK}", published, "events/s")
            yield Row(
                f"handled, {STOCK}",
                size.stock / (time.perf_counter() - began),
                "events/s",
            )
            late = _late_tasks(side, tally, queue, size.seconds)
            for share in SHARES:
                yield Row(f"{share}, {STOCK}", late[share], "ms")
        finally:
            worker.kill()


def _late_tasks(side: Side, tally: Tally, queue: str, seconds: float) -> dict[str, float]:
    """Return how late plain tasks come at the same gentle pace."""
    with loads.client(side, results=False) as app:
        task = app.tasks[LATE]
        before = tally.total
        count = _at_pace(
            seconds,
            lambda _: task.apply_async((time.time(),), queue=queue, ignore_result=True),
        )
        loads.wait_for(tally, before + count)
    return quantiles([float(line) for line in lateness(tally.path).read_text().split()])


def _beside_stock(values: dict[str, float]) -> Iterator[Row]:
    """Compare with a task for each event."""
    for what in ("published", "handled"):
        for durability in DURABILITIES:
            for how in ("batches", "single"):
                title = f"{what}, {how}, {durability}"
                yield Row(f"{title} / stock", values[title] / values[f"{what}, {STOCK}"], "x")
    for durability in DURABILITIES:
        for share in SHARES:
            title = f"P0 {share}, {durability}"
            yield Row(f"{title} / stock", values[title] / values[f"{share}, {STOCK}"], "x")


def _worker(folder: Path, side: Side, tally: Tally, queue: str) -> Worker:
    settings = {
        CONFIGURATION: json.dumps(side.settings),
        TALLY: str(tally.path),
        "TMPDIR": str(folder),
    }
    options = ("-P", "threads", "-c", "8", "-Q", queue)
    return Worker("events", "omx_tasks.bench.app", options, settings, folder / "stock.log")


# --- how late ---------------------------------------------------------------------------------------


def _lateness(url: str, size: Size) -> Iterator[Row]:
    for durability in DURABILITIES:
        name = f"late_{durability}"
        with _handling(url, name, durability, BATCH) as handling, _bus(url, durability) as bus:
            _warm_up(bus, handling, name)
            late = _late(bus, handling, name, size.seconds, tuple(Priority))
        for priority in Priority:
            for share in ("p50", "p99"):
                title = f"{priority.name} {share}, {durability}"
                yield Row(title, late[priority.name][share], "ms")


def _urgent(url: str, size: Size) -> Iterator[Row]:
    """Measure P0 at rest, beside P3 events that nobody takes, and while the same handler takes them."""
    p0, durability = (Priority.P0,), Durability.REPLICA
    with _bus(url, durability) as bus:
        with _handling(url, "everything", durability, BATCH) as everything:
            _warm_up(bus, everything, "everything", p0)  # from now on its events are kept for it
        with _handling(url, "urgent", durability, 1, p0) as urgent:
            _warm_up(bus, urgent, "urgent", p0)
            idle = _late(bus, urgent, "urgent", size.seconds, p0)["P0"]
            bus.publish_many([("everything.filler", {"n": n}, 3) for n in range(size.backlog)])
            _flush(bus)
            paused = _late(bus, urgent, "urgent", size.seconds, p0)["P0"]
        with _handling(url, "everything", durability, BATCH) as everything:
            count, began = 0, time.time()
            while not everything.handled():
                time.sleep(PAUSE)  # its connections are made before, as those of the others
            while not count or everything.handled() < size.backlog:
                count += _publish_gently(bus, "everything", SLICE, p0)
            drained = time.time() - began
            draining = everything.tell(size.backlog + count)["late"]["P0"]
    yield Row("P0 p50, at rest", idle["p50"], "ms")
    yield Row("P0 p99, at rest", idle["p99"], "ms")
    for title, late in (("paused", paused), ("draining", draining)):
        yield Row(f"P0 p50, {size.backlog:,} P3 {title}", late["p50"], "ms")
        yield Row(f"P0 p99, {size.backlog:,} P3 {title}", late["p99"], "ms", Goal("≤", 20))
        ratio = late["p99"] / idle["p99"]
        yield Row(f"P0 p99, {title} beside at rest", ratio, "x", Goal("≤", 2))
    yield Row("draining", size.backlog / drained, "events/s")


def _late(
    bus: Bus, handling: _Handling, kind: str, seconds: float, priorities: tuple[Priority, ...]
) -> dict[str, dict[str, float]]:
    """Return how late events of each priority come at a gentle pace."""
    late: dict[str, dict[str, float]] = handling.tell(
        _publish_gently(bus, kind, seconds, priorities)
    )["late"]
    return late


def _warm_up(
    bus: Bus, handling: _Handling, kind: str, priorities: tuple[Priority, ...] = tuple(Priority)
) -> None:
    """Have connections made, and replicas known on both ends."""
    _late(bus, handling, kind, WARM_UP, priorities)


def _publish_gently(bus: Bus, kind: str, seconds: float, priorities: tuple[Priority, ...]) -> int:
    """Publish one event after the other, at an even pace; returns how many."""
    count = _at_pace(
        seconds,
        lambda n: bus.publish(f"{kind}.probe", {}, priority=priorities[n % len(priorities)]),
    )
    _flush(bus)
    return count


def _at_pace(seconds: float, publish: Callable[[int], object]) -> int:
    """Publish so many as the gentle pace makes in these seconds, at least one of each priority; returns how many."""
    count = max(len(Priority), round(seconds * PACE))
    began = time.monotonic()
    for n in range(count):
        time.sleep(max(0.0, began + n / PACE - time.monotonic()))
        publish(n)
    return count


# --- the two ends -----------------------------------------------------------------------------------


@contextmanager
def _bus(url: str, durability: Durability) -> Iterator[Bus]:
    promise = Promise.of({"durability": durability})
    bus = Bus(lambda: Store(url, promise=promise))
    try:
        yield bus
    finally:
        bus.close()


def _flush(bus: Bus) -> None:
    if not bus.flush(60):
        raise OmxError("published events were not stored within a minute")


class _Handling:
    """The process at the other end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._line()

    def tell(self, count: int) -> dict[str, Any]:
        """Wait until so many events were handled since the last time; returns what was seen of them."""
        return self._ask(str(count))

    def handled(self) -> int:
        """Return how many events were handled since the last time."""
        return int(self._ask("")["handled"])

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)
        said: dict[str, Any] = json.loads(self._line())
        return said

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OmxError("the process that handles events has ended")
        return line


@contextmanager
def _handling(
    url: str,
    name: str,
    durability: Durability,
    batch: int,
    priorities: tuple[Priority, ...] = tuple(Priority),
) -> Iterator[_Handling]:
    asked = {
        "url": url,
        "name": name,
        "pattern": f"{name}.*",
        "durability": durability,
        "batch": batch,
        "priorities": priorities,
    }
    command = [sys.executable, "-m", "omx_tasks.bench.handling", json.dumps(asked)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield _Handling(process)
        finally:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
