"""A census knows every key that there can be, and sees who is connected."""

from __future__ import annotations

import pytest
from census import kind_of, take

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.store import keys
from omx_tasks.store.client import Store


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (keys.meta("a{b}:c"), "meta"),
        (keys.waiting("jobs%1.9", 3), "waiting"),
        (keys.receipt("jobs", "token"), "receipt"),
        (keys.run("0mk3f9q2-5f1c9a"), "run"),
        (keys.runs(), "runs"),
        (keys.agents(), "agents"),
        (keys.operation_durations("omx"), "operation_durations"),
        (keys.event_meta(3), "event_meta"),
        (keys.event_log(5, 2), "event_log"),
        (keys.event_group(1, "metrics"), "event_group"),
        ("celery-task-meta-1", "result"),
        ("somebody's", "unknown: somebody's"),
    ],
)
def test_a_key_is_of_the_kind_whose_function_spells_it(key: str, kind: str) -> None:
    assert kind_of(key) == kind


def test_what_is_stored_and_who_is_connected_is_counted(
    slow_cluster: EmbeddedCluster, queue: str
) -> None:
    before = take(slow_cluster)
    store = Store(slow_cluster.url())
    store.run(queues.publish(queue, [Posting(str(number), "x") for number in range(3)]))
    after = take(slow_cluster)
    more = after.entries - before.entries
    assert (more["messages"], more["places"], more["waiting"]) == (3, 3, 3)
    assert after.keys["messages"] == before.keys["messages"] + 1
    assert after.clients["omx"] > before.clients["omx"]
    assert sum(after.nodes.values()) == sum(after.clients.values())
    store.close()
