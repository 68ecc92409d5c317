"""Nothing is lost when workers are killed: the short storm. The long one is ``run.py``."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ledger_app import NOTE
from ledger_file import Ledger
from pytest_celery import CeleryTestSetup  # type: ignore[import-untyped]
from storm import Storm

from omx_tasks.broker import queues
from omx_tasks.store.client import Store

#: Seconds in which a busy machine has two leases over, and workers started again.
PATIENCE = 60.0


@pytest.mark.timeout(300)
def test_no_message_is_lost_while_workers_are_killed_and_drained(
    celery_setup: CeleryTestSetup, ledger: Ledger, queue: str, store: Store
) -> None:
    def publish(numbers: Sequence[int]) -> None:
        for number in numbers:
            celery_setup.app.send_task(NOTE, (number,), queue=queue, ignore_result=True)

    victims = list(celery_setup.worker_cluster)
    storm = Storm(ledger, publish, victims, messages=300, kills=3, drains=1, patience=PATIENCE)
    outcome = storm.rage()

    assert outcome.published == 300
    assert outcome.lost == 0, outcome
    assert outcome.longest_wait < PATIENCE, outcome
    stats = queues.read_stats(store.run(queues.stats(queue)))
    assert stats.dead == 0
    assert stats.counters["published"] == 300
