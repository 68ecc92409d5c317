"""Watching events: what happened before, and what comes, without disturbing who handles them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from omx_tasks.events.bus import Bus
from omx_tasks.events.types import Event
from omx_tasks.events.watch import Watch, matches
from omx_tasks.store.client import Store


@pytest.fixture
def bus(cluster_url: str) -> Iterator[Bus]:
    bus = Bus(lambda: Store(cluster_url))
    yield bus
    bus.close()


def test_a_late_watcher_sees_what_happened_before_oldest_first(
    bus: Bus, store: Store, word: str
) -> None:
    bus.publish_many([(f"{word}.done", {"n": n}, n % 4) for n in range(3000)])
    assert bus.flush(60)
    seen = Watch(store, [f"{word}.*"]).before(1000)
    assert sorted(event.data["n"] for event in seen) == [event.data["n"] for event in seen]
    assert [event.data["n"] for event in seen] == list(range(2000, 3000))


def test_watchers_see_what_comes_after_what_was_before(
    bus: Bus, store: Store, cluster_url: str, word: str
) -> None:
    bus.publish(f"{word}.before")
    assert bus.flush(60)
    seen: list[list[str]] = []

    def watch() -> None:
        own = Store(cluster_url)
        watch = Watch(own, [f"{word}.*"])
        names = [event.type.partition(".")[2] for event in watch.before(10)]
        ready.release()
        events: Iterator[Event] = watch.follow()
        while names[-1] != "last":
            names.append(next(events).type.partition(".")[2])
        events.close()  # type: ignore[attr-defined]
        own.close()
        seen.append(names)

    ready = threading.Semaphore(0)
    threads = [threading.Thread(target=watch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert ready.acquire(timeout=60)
    for name in ("one", "two", "last"):
        bus.publish(f"{word}.{name}", key="k")
    for thread in threads:
        thread.join(60)
    assert seen == [["before", "one", "two", "last"]] * 3


def test_patterns() -> None:
    assert matches("*", "a.b")
    assert matches("a.*", "a.b")
    assert matches("a.b", "a.b")
    assert not matches("a.b", "a.bc")
    assert not matches("a.*", "ab.c")
