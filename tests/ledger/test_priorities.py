"""P0 before P1 before P2 before P3, and first in, first out within each. At full length: ``priorities.py``."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from celery import Celery
from ledger_app import NOTE
from ledger_file import Entry, Ledger
from ledger_order import Disorder, disorder, ran_before

from omx_tasks.bench.worker import Worker

COUNT = 400


def test_a_worker_with_one_slot_takes_the_urgent_first_and_the_oldest_of_them(
    make_worker: Callable[..., Worker],
    client: Celery,
    ledger: Ledger,
    queue: str,
    until: Callable[..., None],
) -> None:
    chance = random.Random(7)
    priorities = [chance.randrange(4) for _ in range(COUNT)]
    for number, priority in enumerate(priorities):
        client.send_task(NOTE, (number,), queue=queue, priority=priority, ignore_result=True)
    make_worker("one", "one", queue)
    until(lambda: len(ledger.entries()) == COUNT, 100)
    assert disorder(ledger.entries(), priorities) == Disorder(0, 0)


@pytest.mark.parametrize(
    ("ran", "found"),
    [
        ([0, 1, 2, 3], Disorder(0, 0)),
        ([0, 1, 3, 2], Disorder(0, 1)),
        ([0, 2, 1, 3], Disorder(1, 0)),
        ([3, 2, 1, 0], Disorder(2, 2)),
    ],
)
def test_disorder_is_counted_by_priority_and_by_age(ran: list[int], found: Disorder) -> None:
    entries = [Entry(number, "ran", 1, float(at)) for at, number in enumerate(ran)]
    assert disorder(entries, [0, 0, 3, 3]) == found


def test_what_ran_between_publishing_and_running_is_counted() -> None:
    entries = [Entry(number, "ran", 1, float(at)) for at, number in enumerate([5, 6, 7, 0, 8])]
    assert ran_before(entries, {0: 0.5}) == [2]
