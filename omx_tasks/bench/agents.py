"""What agents cost, and what it is worth to have them warm. A section is a function that gives rows and notes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from omx_tasks.bench import keeping, prewarming, sharing, spread, warming
from omx_tasks.bench.place import Measured, Place, Row
from omx_tasks.bench.sides import our_side
from omx_tasks.bench.subjects import NAMES, subjects
from omx_tasks.deploy.temporary import temporary_folder
from omx_tasks.store.client import Store


@dataclass(frozen=True)
class Size:
    """How much is done.

    First operations: ``rounds`` on each of the ``servers``. Memory: so many ``agents``, and ``operations`` for each of
    them. Calls at once: so many ``calls``, of these ``lengths`` (seconds), with these numbers of agents (``fleets``),
    ``repeats`` times. Shared servers: so many agents (``sharers``), and calls for the throughput (``shared``).
    Opened ahead: so many ``graphs``, whose ``first`` calls take so many seconds.
    """

    rounds: int = 10
    servers: tuple[str, ...] = NAMES
    agents: int = 8
    operations: int = 200
    calls: int = 200
    lengths: tuple[float, ...] = (1.0, 0.05)
    fleets: tuple[int, ...] = (1, 4, 8)
    repeats: int = 5
    sharers: int = sharing.AGENTS
    shared: int = sharing.CALLS
    graphs: int = 3
    first: float = 5.0


QUICK = Size(
    rounds=2,
    servers=("time",),
    agents=2,
    operations=10,
    calls=8,
    lengths=(0.2, 0.01),
    fleets=(1, 2),
    repeats=1,
    sharers=2,
    shared=100,
    graphs=1,
    first=1.0,
)

#: The rows of a section, and what was left out of it.
Section = Callable[[Place, Size], tuple[list[Row], list[str]]]


def _first(place: Place, size: Size) -> tuple[list[Row], list[str]]:
    found, missing = subjects(size.servers, place.folder, place.say)
    rows = [row for one in found for row in warming.measure(place, one, size.rounds)]
    return rows, missing


def _memory(place: Place, size: Size) -> tuple[list[Row], list[str]]:
    return [*keeping.measure(place, size.agents, size.operations)], []


def _spread(place: Place, size: Size) -> tuple[list[Row], list[str]]:
    rows = spread.measure(place, size.calls, size.lengths, size.fleets, size.repeats)
    return [*rows], []


def _sharing(place: Place, size: Size) -> tuple[list[Row], list[str]]:
    return sharing.compare(place, size.sharers, size.shared), []


def _ahead(place: Place, size: Size) -> tuple[list[Row], list[str]]:
    return prewarming.measure(place, size.graphs, size.first)


SECTIONS: dict[str, Section] = {
    "first": _first,
    "spread": _spread,
    "memory": _memory,
    "sharing": _sharing,
    "ahead": _ahead,
}


def measure(
    size: Size, say: Callable[[str], None], sections: Sequence[str] = tuple(SECTIONS)
) -> Measured:
    """Measure some sections; everything that this starts is gone when it returns or raises."""
    began = time.monotonic()
    rows: list[Row] = []
    notes: list[str] = []
    with (
        temporary_folder("omx-bench-") as folder,
        our_side(folder / "cluster") as side,
        closing(Store(str(side.settings["broker_url"]))) as store,
    ):
        place = Place(folder, side, store, say)
        for name in sections:
            found, left_out = SECTIONS[name](place, size)
            rows += found
            notes += left_out
    return Measured(size, rows, time.monotonic() - began, notes)
