"""What taking turns costs: the same writes through turns, without them, and one after the other by their needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from book import Book
from fleet import Fleet

from omx_tasks.graph.model import Operation
from omx_tasks.store.client import Store

WRITES = 100


@pytest.fixture
def turns(tmp_path: Path) -> Book:
    return Book(tmp_path)


@pytest.fixture
def none(tmp_path: Path) -> Book:
    """A book whose writes are said to be reads: they take no turns."""
    return Book(tmp_path, {"read_only": ["write"]})


@pytest.fixture
def fleet(
    cluster_url: str,
    store: Store,
    tmp_path: Path,
    turns: Book,
    none: Book,
    until: Callable[..., None],
) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, cluster_url, store, until, {**turns.servers(), **none.servers()})
    yield fleet
    fleet.stop()


def chain(book: Book) -> list[Operation]:
    return [
        book.call(f"c{n}", needs=[f"c{n - 1}"] if n else [], expect=0.001) for n in range(WRITES)
    ]


def side_by_side(book: Book) -> list[Operation]:
    return [book.call(f"w{n}", expect=0.001) for n in range(WRITES)]


@pytest.mark.parametrize("agents", [1, 2])
def test_what_taking_turns_costs(fleet: Fleet, turns: Book, none: Book, agents: int) -> None:
    for _ in range(agents):
        fleet.start(slots=8)
    fleet.run(turns.call("warm", "read"), none.call("warm2", "read"))
    ways = {
        "in turn": side_by_side(turns),
        "without turns, side by side": side_by_side(none),
        "without turns, a chain": chain(none),
        "in turn, a chain": chain(turns),
    }
    for way, operations in ways.items():
        began = time.monotonic()
        assert fleet.run(*operations, seconds=60).state == "succeeded"
        seconds = time.monotonic() - began
        print(f"{agents} agents, {way}: {WRITES / seconds:,.0f} writes/s")
    assert turns.most_at_once() == 1
