"""What operations cost: each part of it measured on one cluster, with agents of its own, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from omx_tasks.bench import at_once, hops, no_ops, ways
from omx_tasks.bench.place import Place, Row
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


@dataclass(frozen=True)
class Measured:
    """What came out."""

    size: Size
    compared: Compared
    rows: list[Row]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes."""
        return {
            "size": asdict(self.size),
            "ways": self.compared.as_json(),
            "rows": [row.as_json() for row in self.rows],
            "seconds": round(self.seconds, 1),
        }


def measure(size: Size, say: Callable[[str], None]) -> Measured:
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
    return Measured(size, compared, rows, time.monotonic() - began)
