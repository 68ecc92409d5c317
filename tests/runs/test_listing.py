"""The list of runs names those that can be looked at, also where nobody reads it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest
from driven import Drive, operation

from omx_tasks.results.joins import STILLBORN
from omx_tasks.runs.listing import PAGE, forget
from omx_tasks.store import keys
from omx_tasks.store.client import Store


@pytest.fixture
def listed(store: Store) -> Iterator[str]:
    key = keys.runs()
    store.command(key, "DEL", key)
    yield key
    store.command(key, "DEL", key)


def test_runs_that_are_no_longer_kept_leave_the_list_and_the_others_stay(
    store: Store, listed: str, drive: Drive
) -> None:
    old = time.time() - STILLBORN - 60
    kept, announced = drive(operation("a")).id, uuid.uuid4().hex
    scores = {kept: old, announced: time.time()}
    scores |= {uuid.uuid4().hex: old - number for number in range(2 * PAGE + 5)}
    pairs = [word for name, score in scores.items() for word in (score, name)]
    store.command(listed, "ZADD", listed, *pairs)
    assert forget(store) == 2 * PAGE + 5
    names = store.command(listed, "ZRANGE", listed, 0, -1)
    assert [name.decode() for name in names] == [kept, announced]
    assert forget(store) == 0
