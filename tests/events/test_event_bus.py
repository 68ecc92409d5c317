"""Publishing: in order, once, from threads and forks, and while the broker is away."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.ports import reserved_ports
from omx_tasks.errors import UnavailableError
from omx_tasks.events.bus import Bus, Draft
from omx_tasks.events.spill import Batch, Spill
from omx_tasks.events.types import Event, EventError
from omx_tasks.priorities import Priority
from omx_tasks.settings import Away
from omx_tasks.store import keys
from omx_tasks.store.client import Store

Until = Callable[..., None]


def stored(store: Store, word: str, partitions: int = 6) -> list[Event]:
    """Return all events of a test, each log in its order."""
    events = []
    for partition in range(partitions):
        for priority in Priority:
            log = keys.event_log(partition, priority)
            for _, fields in store.command(log, "XRANGE", log, "-", "+"):
                if fields[1].decode().startswith(word):
                    events.append(Event.read(fields[5]))
    return events


@pytest.fixture
def bus(cluster_url: str) -> Iterator[Bus]:
    bus = Bus(lambda: Store(cluster_url))
    yield bus
    bus.close()


def test_what_is_published_is_stored_once_and_in_order_of_each_key(
    bus: Bus, store: Store, word: str
) -> None:
    ids = [bus.publish(f"{word}.done", {"n": n}, key=f"k{n % 7}") for n in range(3000)]
    assert bus.flush(60)
    events = stored(store, word)
    assert sorted(event.id for event in events) == sorted(ids)
    for key in {event.key for event in events}:
        numbers = [event.data["n"] for event in events if event.key == key]
        assert numbers == sorted(numbers)
    assert bus.counts.stored == bus.counts.accepted == 3000


def test_a_batch_of_any_size_is_published_whole_or_refused_whole(
    bus: Bus, store: Store, word: str
) -> None:
    bus.publish_many([Draft(f"{word}.done", {"n": n}) for n in range(12_000)])
    with pytest.raises(EventError, match="no type of event"):
        bus.publish_many([(f"{word}.done",), ("wrong",)])
    assert bus.flush(60)
    assert len(stored(store, word)) == 12_000


def test_threads_share_a_bus(bus: Bus, store: Store, word: str) -> None:
    def publish(thread: int) -> None:
        for n in range(200):
            bus.publish(f"{word}.done", {"n": n}, key=f"thread-{thread}")

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert bus.flush(60)
    events = stored(store, word)
    assert len(events) == 1600
    for n in range(8):
        assert [e.data["n"] for e in events if e.key == f"thread-{n}"] == list(range(200))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_publishes_its_own_events_and_not_its_parents(
    bus: Bus, store: Store, word: str
) -> None:
    bus.publish(f"{word}.done", {"by": "parent"})
    child = os.fork()
    if child == 0:
        bus.publish(f"{word}.done", {"by": "child"})
        os._exit(0 if bus.flush(60) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert bus.flush(60)
    assert sorted(event.data["by"] for event in stored(store, word)) == ["child", "parent"]


def test_an_event_that_is_no_json_or_too_large_says_so(bus: Bus, word: str) -> None:
    with pytest.raises(EventError, match="is no JSON"):
        bus.publish(f"{word}.done", {"what": object()})
    with pytest.raises(EventError, match="too large: 262144 at most"):
        bus.publish(f"{word}.done", {"what": "x" * 300_000})


def test_unknown_types_are_kept_counted_and_told_once(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        bus.publish("operation.teleported", {"x": 1})
    assert bus.flush(60)
    assert bus.counts.unknown == 3
    assert caplog.text.count("operation.teleported is no type of event that is known") == 1


def test_what_is_published_at_the_end_of_a_process_is_stored(
    cluster_url: str, store: Store, word: str
) -> None:
    bus = Bus(lambda: Store(cluster_url))
    bus.publish_many([(f"{word}.done", {}, 3)] * 100)
    bus.close()
    assert len(stored(store, word)) == 100


# --- the broker is away ------------------------------------------------------------------------------


@pytest.fixture
def away(tmp_path: Path) -> Iterator[EmbeddedCluster]:
    """A cluster of a test's own, which is down; nobody else is given its ports meanwhile."""
    with reserved_ports(3) as ports:
        cluster = EmbeddedCluster(tmp_path / "cluster", replicas=0, ports=ports)
        cluster.up(bound=True)
        cluster.down(timeout=5)
        yield cluster
        cluster.down(delete=True, timeout=5)


def test_block_waits_for_room_and_stores_what_was_accepted_when_the_broker_is_back(
    away: EmbeddedCluster, word: str, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    bus = Bus(lambda: Store(away.url()), buffer=10, timeout=0.2)
    bus.publish_many([(f"{word}.done", {"n": n}, None, "k") for n in range(10)])
    with pytest.raises(UnavailableError, match="was not accepted: the buffer of 10 events is full"):
        bus.publish(f"{word}.done")
    assert not bus.flush(0.1)
    until(lambda: "events cannot be stored now" in caplog.text)
    away.up(bound=True)
    assert bus.flush(60)
    bus.publish(f"{word}.done", {"n": 10}, key="k")
    bus.close()
    store = Store(away.url())
    assert [event.data["n"] for event in stored(store, word)] == list(range(11))
    store.close()
    assert caplog.text.count("events cannot be stored now") == 1
    assert caplog.text.count("events are stored again") == 1


def test_refuse_refuses_at_once_when_it_is_known(
    away: EmbeddedCluster, word: str, until: Until
) -> None:
    bus = Bus(lambda: Store(away.url()), away=Away.REFUSE)
    bus.publish(f"{word}.done", {"n": 0})

    def refused() -> bool:
        try:
            bus.publish(f"{word}.done", {"n": 1})
        except UnavailableError:
            return True
        return False

    until(refused)
    accepted = bus.counts.accepted
    away.up(bound=True)
    assert bus.flush(60)
    bus.close()
    store = Store(away.url())
    assert len(stored(store, word)) == accepted
    store.close()


def test_spill_takes_any_number_and_stores_them_in_order_when_the_broker_is_back(
    away: EmbeddedCluster, word: str, tmp_path: Path, until: Until
) -> None:
    bus = Bus(lambda: Store(away.url()), away=Away.SPILL, spill=tmp_path / "spill", buffer=50)
    for n in range(1000):
        bus.publish(f"{word}.done", {"n": n}, key="k")
    until(lambda: bus.counts.spilled > 900)
    away.up(bound=True)
    for n in range(1000, 1100):
        bus.publish(f"{word}.done", {"n": n}, key="k")
    assert bus.flush(60)
    assert bus.counts.replayed == bus.counts.spilled
    store = Store(away.url())
    assert [event.data["n"] for event in stored(store, word)] == list(range(1100))
    bus.close()
    assert list((tmp_path / "spill").iterdir()) == []
    store.close()


def test_what_a_process_left_in_its_file_is_stored_by_the_next_one_once(
    away: EmbeddedCluster, word: str, tmp_path: Path
) -> None:
    spill = tmp_path / "spill"
    first = Bus(lambda: Store(away.url()), away=Away.SPILL, spill=spill)
    for n in range(100):
        first.publish(f"{word}.done", {"n": n}, key="k")
    first.close()
    (left,) = spill.iterdir()
    copy = left.read_bytes()
    away.up(bound=True)
    for name in ("again", "torn"):
        (spill / f"{name}.events.jsonl").write_bytes(copy + b'["half-writ')
    second = Bus(lambda: Store(away.url()), away=Away.SPILL, spill=spill)
    second.publish(f"{word}.done", {"n": 100}, key="k")
    assert second.flush(60)
    assert second.counts.repeated > 0
    store = Store(away.url())
    assert [event.data["n"] for event in stored(store, word)] == list(range(101))
    store.close()
    second.close()
    assert list(spill.iterdir()) == []


def test_without_a_file_what_is_lost_at_the_end_is_said(
    away: EmbeddedCluster, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    bus = Bus(lambda: Store(away.url()))
    bus.publish(f"{word}.done")
    with caplog.at_level(logging.ERROR):
        bus.close(timeout=0.1)
    assert (
        "1 events were accepted and could not be stored by the end of this process" in caplog.text
    )


def test_a_file_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    one, other = Spill(tmp_path, "one"), Spill(tmp_path, "other")
    one.append(Batch("p", 1, 0, ()))
    assert other.empty
    one.close()
    third = Spill(tmp_path, "third")
    head = third.head()
    assert head is not None
    assert head.number == 1
    assert json.loads(head.line())[0] == "p"
    for spill in (other, third):
        spill.close()
