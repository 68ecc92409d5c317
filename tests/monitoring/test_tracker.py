"""What happens is counted once, whoever dies, in buckets that go, under names that are never too many."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omx_tasks.errors import UnavailableError
from omx_tasks.events.bus import Bus
from omx_tasks.events.lag import lag
from omx_tasks.events.types import Event, Place
from omx_tasks.monitoring import ledger, tracker
from omx_tasks.monitoring.statistics import arrivals, statistics
from omx_tasks.monitoring.tally import Dimension, Span
from omx_tasks.monitoring.tracker import Tracker
from omx_tasks.priorities import Priority
from omx_tasks.settings import Settings
from omx_tasks.store import keys
from omx_tasks.store.client import Store

Until = Callable[..., None]
COUNTING = Path(__file__).with_name("counting.py")
#: Some minute of 2026, 30 seconds after its begin.
NOW = 1_780_000_050.0
GIVEN = Settings()


def event(number: int | None, type_: str = "order.paid", at: float = NOW, **data: Any) -> Event:
    place = None if number is None else Place(0, number)
    return Event(f"id-{number}", type_, Priority.P2, "", at, data, place=place)


def over(number: int, state: str = "succeeded", **data: Any) -> Event:
    """An operation of the graph ``brief`` is over: it was ready 2 s ago, waited for 0.5 s, took 1 s."""
    said = {
        "run": "r",
        "graph": "brief",
        "operation": "each[3]:1",
        "server": "notes",
        "kind": "tool",
        "target": "read_note",
        "priority": 1,
        "capabilities": "server:notes",
        "template": "writer",
        "attempts": 1,
        "ready": NOW - 2,
        "waited": 0.5,
        "started": NOW - 1.5,
        "finished": NOW - 0.5,
        **data,
    }
    return event(number, f"operation.{state}", **said)


def counted(store: Store, dimension: Dimension, last: float = 3600, **more: Any) -> dict[str, int]:
    found = statistics(store, dimension, last, GIVEN, now=more.get("now", NOW))
    return {name: count.number for name, count in found.series.items()}


def test_an_operation_counts_in_each_dimension(counted_store: Store) -> None:
    track = Tracker(counted_store, GIVEN, clock=lambda: NOW)
    ends = [over(1), over(2, "failed", attempts=3, finished=NOW + 6.5), over(3, "cancelled")]
    track.count([*ends, over(4, kind="resource", target="notes://all"), event(5)])
    expected = {
        Dimension.OPERATION: {"brief/each": 4},
        Dimension.SERVER: {"notes": 4},
        Dimension.TOOL: {"notes read_note": 3, "notes resource notes://all": 1},
        Dimension.TEMPLATE: {"writer": 4},
        Dimension.PRIORITY: {"P1": 4},
        Dimension.OUTCOME: {"P1 succeeded": 2, "P1 failed": 1, "P1 cancelled": 1},
        Dimension.CAPABILITIES: {"server:notes": 4},
        Dimension.EVENT: {
            "operation.succeeded": 2,
            "operation.failed": 1,
            "operation.cancelled": 1,
            "order.paid": 1,
        },
    }
    assert {one: counted(counted_store, one) for one in Dimension} == expected
    count = statistics(counted_store, Dimension.SERVER, 60, GIVEN, now=NOW).series["notes"]
    assert (count.failed, count.attempts, count.seconds) == (1, 6, 10.0)
    assert (sum(count.calls.values()), sum(count.waits.values())) == (3, 4)


@pytest.mark.parametrize("last", [60, 86_400])
def test_minutes_and_hours_say_the_same(counted_store: Store, last: float) -> None:
    track = Tracker(counted_store, GIVEN, clock=lambda: NOW)
    for first in range(1, 1000, 100):
        track.count([over(n, template=f"t{n % 7}") for n in range(first, first + 100)])
    found = counted(counted_store, Dimension.TEMPLATE, last)
    assert found == Counter(f"t{n % 7}" for n in range(1, 1001))


def test_a_batch_that_comes_again_adds_nothing_and_a_longer_one_what_is_new(
    counted_store: Store,
) -> None:
    track = Tracker(counted_store, GIVEN, clock=lambda: NOW)
    events = [event(n) for n in range(1, 101)]
    track.count(events[:50])
    track.count(events[:50])
    track.count(events[10:80])
    track.count(events[:30])
    track.count(events)
    assert counted(counted_store, Dimension.EVENT) == {"order.paid": 100}


def test_what_several_processes_count_is_added_up(counted_store: Store) -> None:
    tracks = [Tracker(counted_store, GIVEN, clock=lambda: NOW) for _ in range(3)]
    for n in range(1, 31):
        tracks[n % 3].count([over(n, attempts=n)])
    count = statistics(counted_store, Dimension.SERVER, 60, GIVEN, now=NOW).series["notes"]
    assert (count.number, count.attempts, count.seconds) == (30, sum(range(31)), 30.0)
    assert sum(count.calls.values()) == sum(count.waits.values()) == 30


def test_a_page_that_was_closed_keeps_what_it_has(
    counted_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "OPEN", 1)
    track = Tracker(counted_store, GIVEN, clock=lambda: NOW)
    for n in range(1, 21):
        track.count([event(n, at=NOW - 60 * (n % 4))])
    assert counted(counted_store, Dimension.EVENT, 300) == {"order.paid": 20}


def test_what_comes_again_alone_has_no_place_and_counts(counted_store: Store) -> None:
    track = Tracker(counted_store, GIVEN, clock=lambda: NOW)
    track.count([event(5)])
    track.count([event(None)])
    assert counted(counted_store, Dimension.EVENT) == {"order.paid": 2}


def test_what_has_no_room_is_counted_together_until_names_are_forgotten(
    counted_store: Store,
) -> None:
    given = Settings(stats_series=3)
    track = Tracker(counted_store, given, clock=lambda: NOW)
    track.count([event(n, f"user.type{n}") for n in range(1, 11)])
    found = counted(counted_store, Dimension.EVENT)
    assert len(found) == 4
    assert found[""] == 7
    assert sum(found.values()) == 10
    names = keys.counts_names(Dimension.EVENT)
    for name in counted_store.command(names, "ZRANGE", names, 0, -1):
        counted_store.command(names, "ZADD", names, 1, name)  # long ago
    track.count([event(11, "user.late")])
    assert counted(counted_store, Dimension.EVENT)["user.late"] == 1
    assert counted_store.command(names, "ZCARD", names) == 1


def test_buckets_go_when_their_time_is_over(counted_store: Store) -> None:
    given = Settings(stats_minutes=600, stats_hours=7200)
    track = Tracker(counted_store, given, clock=lambda: NOW)
    track.count([event(1, at=NOW), event(2, at=NOW - 1800), event(3, at=NOW - 86_400)])
    left = {}
    for span in Span:
        key = keys.counts(span, span.of(NOW), Dimension.EVENT)
        left[span] = counted_store.command(key, "TTL", key)
    # A minute's end is 30 s away, an hour's up to 3600.
    assert 620 <= left[Span.MINUTE] <= 630
    assert 7200 < left[Span.HOUR] <= 7200 + 3600
    former = keys.counts(Span.MINUTE, Span.MINUTE.of(NOW - 1800), Dimension.EVENT)
    assert counted_store.command(former, "EXISTS", former) == 0
    found = statistics(counted_store, Dimension.EVENT, 7200, given, now=NOW)
    assert (found.series["order.paid"].number, found.late) == (2, 1)


def test_what_comes_from_a_clock_that_is_ahead_happened_now(counted_store: Store) -> None:
    Tracker(counted_store, GIVEN, clock=lambda: NOW).count([event(1, at=NOW + 900)])
    assert counted(counted_store, Dimension.EVENT, 60) == {"order.paid": 1}


def test_arrivals_are_told_by_the_minute_in_which_they_were_ready(counted_store: Store) -> None:
    track = Tracker(counted_store, GIVEN, clock=lambda: NOW)
    ready = [180, 120, 120, 60, 5]
    track.count([over(n, ready=NOW - 30 - ago) for n, ago in enumerate(ready, 1)])
    assert arrivals(counted_store, 4, now=NOW) == {"server:notes": [0, 1, 2, 2]}


def test_while_the_cluster_is_away_the_tracker_waits_and_counts_once(
    counted_store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(Store):
        """Does what it is asked twice, and does not answer then."""

        left = 2

        def run(self, call: Any, *, timeout: float | None = None) -> Any:
            answer = super().run(call, timeout=timeout)
            self.left -= call.durable
            if call.durable and self.left >= 0:
                raise UnavailableError("no answer")
            return answer

    monkeypatch.setattr(tracker, "PAUSE", 0.01)
    store = Away(counted_store.address)
    track = Tracker(store, GIVEN, clock=lambda: NOW)
    track.count([event(1), event(2)])
    track.count([event(3)])
    store.close()
    assert counted(counted_store, Dimension.EVENT) == {"order.paid": 3}
    assert caplog.text.count("events are not counted for now: no answer") == 1


def test_coordinators_that_are_killed_while_they_count_lose_nothing_and_count_nothing_twice(
    counted_url: str, counted_store: Store, until: Until
) -> None:
    expected: Counter[str] = Counter()
    bus = Bus(lambda: Store(counted_url))
    draw = random.Random(7)

    def publish() -> None:
        for _ in range(30):
            drafts = [
                (f"user.type{draw.randrange(20)}", {}, draw.randrange(4), str(draw.randrange(50)))
                for _ in range(500)
            ]
            bus.publish_many(drafts)
            expected.update(draft[0] for draft in drafts)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(COUNTING), counted_url, "0.6"])

    def total() -> int:
        found = statistics(counted_store, Dimension.EVENT, 3600, GIVEN).series
        return sum(count.number for count in found.values())

    handler = Tracker(counted_store, GIVEN).handler()
    thread = threading.Thread(target=publish)
    thread.start()
    processes = [start(), start()]
    try:
        for _ in range(3):
            before = total()
            until(lambda before=before: total() > before or not thread.is_alive())
            processes.append(start())
            victim = processes[-3]
            victim.kill()
            victim.wait(60)
        thread.join()
        assert bus.flush(60)
        until(lambda: lag(counted_store, handler, 6).behind == 0, 60)
    finally:
        bus.close()
        for process in processes:
            process.kill()
            process.wait(60)
    found = statistics(counted_store, Dimension.EVENT, 3600, GIVEN).series
    assert {name: count.number for name, count in found.items()} == expected
