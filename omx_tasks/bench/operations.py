"""What operations cost: each part of it measured on one cluster, with agents of its own, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from omx_tasks.bench import at_once, hops, no_ops, ways
from omx_tasks.bench.place import Measured, Place
from omx_tasks.bench.sides import our_side
from omx_tasks.bench.ways import Compared
from omx_tasks.deploy.temporary import temporary_folder
from omx_tasks.store.client import Store


@dataclass(frozen=True)
class Size:
    """How much is done: rounds of everything, calls, operations without a call, hops of a chain, calls that wait."""

    rounds: int = 5
    calls: int = 1000
    no_ops: int = 10_000
    hops: int = 200
    waiting: int = 200
    seconds: float = 1.0


QUICK = Size(rounds=1, calls=40, no_ops=200, hops=10, waiting=8, seconds=0.2)


def measure(size: Size, say: Callable[[str], None]) -> tuple[Compared, Measured]:
    """Measure; everything that this starts is gone when it returns or raises."""
    began = time.monotonic()
    with (
        temporary_folder("omx-bench-") as folder,
        our_side(folder / "cluster") as side,
        closing(Store(str(side.settings["broker_url"]))) as store,
    ):
        place = Place(folder, side, store, say)
        compared = ways.compare(place, size.calls, size.rounds)
        rows = [
            *compared.rows(),
            *hops.measure(place, size.hops, size.rounds),
            *at_once.measure(place, size.waiting, size.seconds),
            *no_ops.measure(place, size.no_ops, size.rounds),
        ]
    return compared, Measured(size, rows, time.monotonic() - began)
