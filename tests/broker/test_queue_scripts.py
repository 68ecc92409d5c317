"""The life of messages, script by script, on a real cluster."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from omx_tasks.broker import audit, queues
from omx_tasks.broker.queues import Claimed, Held, Posting, Stats
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call

Until = Callable[..., None]
LONG = 60_000


class Bench:
    """One queue, and the calls on it."""

    def __init__(self, store: Store, queue: str) -> None:
        self.store, self.queue = store, queue

    def publish(self, *ids: str, **properties: int) -> list[int]:
        postings = [Posting(id_, f"body of {id_}", **properties) for id_ in ids]  # type: ignore[arg-type]
        return list(self.store.run(queues.publish(self.queue, postings)))

    def claim(
        self, most: int = 10, *, token: str = "", lease: int = LONG, **wishes: Any
    ) -> Claimed:
        token = token or uuid.uuid4().hex
        call = queues.claim(self.queue, token, most=most, lease=lease, **wishes)
        return queues.claimed(self.store.run(call))

    def ids(self, most: int = 10, **kwargs: Any) -> list[str]:
        return [delivery.id for delivery in self.claim(most, **kwargs).deliveries]  # type: ignore[arg-type]

    @property
    def stats(self) -> Stats:
        return queues.read_stats(self.store.run(queues.stats(self.queue)))

    def state(self) -> dict[str, object]:
        """All that is stored of the queue, but for times."""
        dump: dict[str, object] = {}
        for key in keys.queue_keys(self.queue):
            kind = self.store.command(key, "TYPE", key)
            if kind == b"hash":
                dump[key] = self.store.command(key, "HGETALL", key)
            elif kind == b"zset":
                dump[key] = self.store.command(key, "ZRANGE", key, 0, -1)
        return dump


@pytest.fixture
def bench(store: Store, queue: str) -> Bench:
    return Bench(store, queue)


def test_p0_goes_first_then_the_longest_remaining_path_then_first_in(bench: Bench) -> None:
    bench.publish("late", priority=Priority.P3)
    bench.publish("usual-1", "usual-2")
    bench.publish("long-path", rank=900)
    bench.publish("soon", priority=Priority.P1)
    bench.publish("now", priority=Priority.P0)
    assert bench.ids() == ["now", "soon", "long-path", "usual-1", "usual-2", "late"]


def test_a_claim_takes_no_more_than_was_asked_for_and_says_what_is_left(bench: Bench) -> None:
    bench.publish("a", "b", "c")
    claimed = bench.claim(2)
    assert [d.id for d in claimed.deliveries] == ["a", "b"]
    assert claimed.left == 1
    assert bench.ids() == ["c"]
    assert bench.ids() == []


def test_a_message_published_twice_is_stored_once_also_after_its_ack(bench: Bench) -> None:
    assert bench.publish("a") == [1, 0]
    assert bench.publish("a") == [0, 1]
    bench.claim(token="t")
    assert bench.publish("a") == [0, 1]
    bench.store.run(queues.ack(bench.queue, [Held("a", "t")]))
    assert bench.publish("a") == [0, 1]
    assert bench.ids() == []


def test_what_was_done_is_known_for_a_while_also_where_nothing_else_is_done(bench: Bench) -> None:
    bench.publish("a")
    (delivery,) = bench.claim(token="t").deliveries
    bench.store.run(queues.ack(bench.queue, [Held(delivery.id, "t")]))
    assert bench.publish("a") == [0, 1]
    done = keys.done(bench.queue)
    bench.store.command(done, "ZINCRBY", done, -2 * LONG, "a")
    assert bench.publish("a") == [1, 0], "whoever publishes it now misses it"


def test_what_is_new_among_known_messages_is_stored_once_and_in_its_place(bench: Bench) -> None:
    bench.publish("a", "b")
    assert bench.publish("c", "a", "d", "c", "b") == [2, 3]
    assert bench.publish(*(f"{number:03}" for number in range(1000))) == [1000, 0]
    assert bench.ids(6) == ["a", "b", "c", "d", "000", "001"]


def test_a_message_comes_back_to_its_place_when_its_lease_ends(bench: Bench, until: Until) -> None:
    bench.publish("first", "second", "third")
    bench.claim(1, lease=30)
    until(lambda: bench.claim(0).left == 3)
    claimed = bench.claim()
    assert [(d.id, d.count) for d in claimed.deliveries] == [
        ("first", 2),
        ("second", 1),
        ("third", 1),
    ]
    assert bench.stats.counters["returned"] == 1


def test_a_claim_says_when_the_next_lease_ends(bench: Bench) -> None:
    bench.publish("a")
    bench.claim(lease=5000)
    assert 4000 < bench.claim().due <= 5000


def test_only_the_holder_of_the_token_can_ack_renew_or_release(bench: Bench, until: Until) -> None:
    bench.publish("a")
    bench.claim(token="old", lease=20)
    until(lambda: bench.claim(token=f"new-{uuid.uuid4().hex}", most=0).left)
    bench.claim(token="new")
    old = [Held("a", "old")]
    assert bench.store.run(queues.ack(bench.queue, old)) == [0, 0, 1]
    assert bench.store.run(queues.renew(bench.queue, old, lease=1000)) == [b"a"]
    assert bench.store.run(queues.release(bench.queue, old)) == 0
    assert bench.stats.leased == 1
    assert bench.stats.counters["fenced"] == 1
    assert bench.store.run(queues.ack(bench.queue, [Held("a", "new")])) == [1, 0, 0]


def test_a_renewed_lease_outlives_its_first_length(bench: Bench, until: Until) -> None:
    bench.publish("renewed", "dropped")
    bench.claim(token="t", lease=300)
    held = [Held("renewed", "t")]
    assert bench.store.run(queues.renew(bench.queue, held, lease=LONG)) == []
    until(lambda: bench.ids() == ["dropped"])
    assert bench.stats.leased == 2


def test_a_message_delivered_too_often_is_parked_as_dead(bench: Bench, until: Until) -> None:
    bench.publish("poison")
    for delivery in (1, 2):
        until(lambda count=delivery: _counts(bench.claim(lease=10, deliveries=2)) == [count])
    until(lambda: bench.claim(deliveries=2) and bench.stats.dead == 1)
    assert bench.ids() == []
    assert bench.stats.leased == 0
    assert bench.publish("poison") == [0, 1]


def _counts(claimed: Claimed) -> list[int]:
    return [delivery.count for delivery in claimed.deliveries]


def test_a_delayed_message_comes_when_it_is_due(bench: Bench, until: Until) -> None:
    bench.publish("later", delay=80)
    bench.publish("now")
    claimed = bench.claim()
    assert [d.id for d in claimed.deliveries] == ["now"]
    assert 0 < claimed.due <= 80
    assert bench.stats.delayed == 1
    until(lambda: bench.ids() == ["later"])


def test_a_released_message_goes_back_to_its_place_or_waits_a_while(
    bench: Bench, until: Until
) -> None:
    bench.publish("a", "b")
    bench.claim(1, token="t")
    assert bench.store.run(queues.release(bench.queue, [Held("a", "t")])) == 1
    assert bench.ids(1) == ["a"]
    bench.claim(1, token="u")
    bench.store.run(queues.release(bench.queue, [Held("b", "u")], delay=50))
    assert bench.ids() == []
    until(lambda: bench.ids() == ["b"])


def test_a_claim_asked_for_twice_gives_the_same_messages(bench: Bench) -> None:
    bench.publish("a", "b", "c")
    first = bench.claim(2, token="t")
    bench.store.run(queues.ack(bench.queue, [Held("a", "t")]))
    again = bench.claim(2, token="t")
    assert [d.id for d in first.deliveries] == ["a", "b"]
    assert [(d.id, d.count) for d in again.deliveries] == [("b", 1)]
    assert again.left == 1


def test_purging_removes_what_waits_and_leaves_what_is_held(bench: Bench) -> None:
    bench.publish("held", "waiting")
    bench.publish("delayed", delay=LONG)
    bench.claim(1, token="t")
    assert bench.store.run(queues.purge(bench.queue)) == 2
    assert bench.stats[:5] == ((0, 0, 0, 0), 1, 0, 0, {"published": 3, "purged": 2})
    assert bench.store.run(queues.ack(bench.queue, [Held("held", "t")])) == [1, 0, 0]


def test_a_deleted_queue_leaves_nothing(bench: Bench) -> None:
    bench.publish("a")
    bench.store.run(queues.delete(bench.queue))
    assert bench.state() == {}


def test_an_unused_queue_with_an_expiry_goes_as_a_whole(bench: Bench, until: Until) -> None:
    bench.store.run(queues.declare(bench.queue, expires=60))
    bench.publish("a")
    bench.claim(1, lease=LONG)
    until(lambda: bench.state() == {})


def test_the_holder_of_a_message_keeps_an_expiring_queue_alive(bench: Bench) -> None:
    bench.store.run(queues.declare(bench.queue, expires=400))
    bench.publish("a")
    bench.claim(token="t")
    pause = threading.Event()
    for _ in range(8):
        pause.wait(0.1)
        assert bench.store.run(queues.renew(bench.queue, [Held("a", "t")], lease=LONG)) == []
    assert bench.stats.leased == 1


@pytest.mark.parametrize(
    "name", ["declare", "publish", "claim", "ack", "failed", "renew", "release", "purge", "delete"]
)
def test_each_script_run_twice_comes_to_the_same(bench: Bench, name: str) -> None:
    bench.publish("a", "b", "c")
    bench.publish("d", delay=LONG)
    bench.claim(2, token="t")
    call = _calls(bench.queue)[name]
    bench.store.run(call)
    once = bench.state()
    bench.store.run(call)
    assert bench.state() == once


def _calls(queue: str) -> dict[str, Call]:
    held = [Held("a", "t"), Held("b", "t")]
    return {
        "declare": queues.declare(queue),
        "publish": queues.publish(queue, [Posting("x", "x"), Posting("y", "y", delay=LONG)]),
        "claim": queues.claim(queue, "u", most=5, lease=LONG),
        "ack": queues.ack(queue, held),
        "failed": queues.ack(queue, held, outcome="failed"),
        "renew": queues.renew(queue, held, lease=LONG),
        "release": queues.release(queue, held),
        "purge": queues.purge(queue),
        "delete": queues.delete(queue),
    }


def test_p3_that_waited_too_long_gets_one_message_of_eight(bench: Bench, until: Until) -> None:
    bench.publish(*(f"late-{i}" for i in range(4)), priority=Priority.P3)
    bench.publish(*(f"now-{i}" for i in range(28)), priority=Priority.P0)
    until(lambda: (bench.stats.oldest[Priority.P3] or 0) > 0.03)
    taken = [bench.ids(1, aging=30)[0].partition("-")[0] for _ in range(32)]
    assert [i for i, kind in enumerate(taken, 1) if kind == "late"] == [8, 16, 24, 32]


def test_p3_that_waited_too_long_comes_after_what_is_urgent_in_its_claim(
    bench: Bench, until: Until
) -> None:
    bench.publish("late", "later", priority=Priority.P3)
    bench.publish(*(f"now-{i}" for i in range(20)), priority=Priority.P0)
    until(lambda: (bench.stats.oldest[Priority.P3] or 0) > 0.03)
    assert bench.ids(8, aging=30) == [*(f"now-{i}" for i in range(7)), "late"]


@pytest.mark.parametrize("aging", [0, LONG])
def test_p3_waits_while_it_is_young_or_nothing_ages(bench: Bench, aging: int) -> None:
    bench.publish("late", priority=Priority.P3)
    bench.publish(*(f"now-{i}" for i in range(16)), priority=Priority.P0)
    assert "late" not in bench.ids(16, aging=aging)


def test_a_claim_with_an_aged_message_gives_the_same_again(bench: Bench, until: Until) -> None:
    bench.publish("late", priority=Priority.P3)
    bench.publish(*(f"now-{i}" for i in range(20)), priority=Priority.P0)
    until(lambda: (bench.stats.oldest[Priority.P3] or 0) > 0.03)
    first = bench.claim(8, token="t", aging=30)
    assert bench.claim(8, token="t", aging=30).deliveries == first.deliveries


def test_a_message_that_is_named_twice_in_an_ack_is_counted_once(bench: Bench) -> None:
    bench.publish("a", "b")
    bench.claim(token="t")
    held = [Held("a", "t"), Held("a", "t"), Held("b", "t")]
    assert bench.store.run(queues.ack(bench.queue, held)) == [2, 1, 0]
    assert bench.stats.counters["acked"] == 2


def test_no_more_than_a_thousand_messages_are_claimed_at_once(bench: Bench) -> None:
    for first in range(0, 1500, 500):
        bench.publish(*(str(number) for number in range(first, first + 500)))
    got = bench.claim(2000)
    assert (len(got.deliveries), got.left) == (1000, 500)


def test_a_message_that_nobody_began_is_given_back_as_it_was(bench: Bench) -> None:
    bench.publish("a")
    for token in "tuv":
        (got,) = bench.claim(token=token, deliveries=1).deliveries
        assert got.count == 1
        call = queues.release(bench.queue, [Held("a", token)], unbegun=True)
        assert bench.store.run(call) == 1
        assert bench.store.run(call) == 0


def test_scripts_that_are_given_no_message_do_nothing(bench: Bench) -> None:
    assert bench.publish() == [0, 0]
    assert bench.store.run(queues.ack(bench.queue, [])) == [0, 0, 0]
    assert bench.store.run(queues.release(bench.queue, [])) == 0
    assert bench.store.run(queues.renew(bench.queue, [], lease=LONG)) == []


def test_what_is_parked_comes_back_when_it_is_woken(bench: Bench) -> None:
    bench.publish("a")
    (delivery,) = bench.claim(token="t").deliveries
    assert bench.store.run(queues.park(bench.queue, [Held("a", "t")], delay=LONG)) == 1
    assert bench.ids() == []
    assert bench.publish("a") == [0, 1], "it is known for as long as it is parked"
    for _ in range(2):
        assert bench.store.run(queues.wake(bench.queue, ["a"])) == 1
    again = bench.claim().deliveries
    assert [(one.id, one.count, one.body) for one in again] == [("a", delivery.count, b"body of a")]


def test_what_is_woken_before_it_is_parked_does_not_wait(bench: Bench) -> None:
    bench.publish("a")
    bench.claim(token="t")
    bench.store.run(queues.wake(bench.queue, ["a"]))
    assert bench.ids() == [], "it is held"
    for expected in (1, 0):
        parked = bench.store.run(queues.park(bench.queue, [Held("a", "t")], delay=LONG))
        assert parked == expected
    bench.claim(token="u")
    bench.store.run(queues.park(bench.queue, [Held("a", "u")], delay=LONG))
    assert bench.ids() == [], "a claim takes what it was woken for"


def test_nobody_else_parks_a_message(bench: Bench) -> None:
    bench.publish("a")
    bench.claim(token="t")
    assert bench.store.run(queues.park(bench.queue, [Held("a", "other")], delay=LONG)) == 0
    assert bench.store.run(queues.ack(bench.queue, [Held("a", "t")])) == [1, 0, 0]
    assert bench.store.run(queues.wake(bench.queue, ["a"])) == 0


def test_what_nobody_wakes_comes_back_by_itself(bench: Bench, until: Until) -> None:
    bench.publish("a")
    bench.claim(token="t")
    bench.store.run(queues.park(bench.queue, [Held("a", "t")], delay=50))
    until(lambda: bench.ids() == ["a"])


def test_only_served_priorities_are_taken_and_the_share_of_age_only_where_p3_is(
    bench: Bench, until: Until
) -> None:
    for priority in Priority:
        bench.publish(f"{priority}-a", f"{priority}-b", priority=priority)
    until(lambda: (bench.stats.oldest[3] or 0) > 0.01)
    assert bench.ids(8, aging=1, served=[1, 2]) == ["1-a", "1-b", "2-a", "2-b"]
    assert bench.ids(8, aging=1, served=[1, 2]) == []
    assert bench.ids(8, served=[3]) == ["3-a", "3-b"]
    assert bench.claim(1, served=[3]).waiting == (2, 0, 0, 0)


def _lose(bench: Bench, until: Until, *ids: str, times: int) -> None:
    """Have workers end that hold these messages, so many times."""
    for _ in range(times):
        taken = set[str]()
        until(lambda taken=taken: taken.update(bench.ids(lease=1, suspect=True)) or taken == {*ids})
    until(lambda: not (bench.claim(0) and bench.stats.leased))


def test_what_was_lost_twice_is_given_one_at_a_time(bench: Bench, until: Until) -> None:
    bench.publish("a", "b", "c")
    _lose(bench, until, "a", "b", "c", times=2)
    bench.publish("fresh")
    assert (bench.stats.suspects, sum(bench.stats.waiting)) == (3, 4)
    assert (bench.stats.oldest[Priority.P2] or 0) > 0
    assert (bench.ids(), bench.claim().suspects) == (["fresh"], True)
    bench.publish("later")
    got = bench.claim(token="t", suspect=True)
    assert [(d.id, d.count) for d in got.deliveries] == [("a", 3), ("later", 1)]
    assert bench.claim(token="t", suspect=True).suspect == got.suspect == "a"


def test_what_is_lost_too_often_is_dead_and_comes_back_without_a_stain(
    bench: Bench, until: Until
) -> None:
    bench.publish("poison")
    for loss in range(1, 4):
        until(lambda: bench.ids(lease=10, losses=3, suspect=True) == ["poison"])
        until(
            lambda loss=loss: (
                bench.claim(0, losses=3).due < 0 and bool(bench.stats.dead) == (loss == 3)
            )
        )
    (found,) = audit.dead(bench.store, bench.queue)
    assert found.reason == "3 deliveries, all to agents that ended with it in hand"
    assert audit.replay(bench.store, bench.queue, ["poison"]) == 1
    got = bench.claim()
    assert (got.deliveries[0].count, got.suspect) == (1, "")


def test_a_suspect_that_is_released_goes_to_the_end_of_the_line(bench: Bench, until: Until) -> None:
    bench.publish("a", "b")
    _lose(bench, until, "a", "b", times=2)
    assert bench.ids(token="t", suspect=True) == ["a"]
    time_of_b = bench.stats.time
    until(lambda: bench.stats.time > time_of_b)
    bench.store.run(queues.release(bench.queue, [Held("a", "t")]))
    assert [bench.ids(suspect=True) for _ in range(3)] == [["b"], ["a"], []]


def test_suspects_go_by_priority_and_only_to_who_serves_it(bench: Bench, until: Until) -> None:
    bench.publish("late", priority=Priority.P3)
    bench.publish("now", priority=Priority.P0)
    _lose(bench, until, "late", "now", times=2)
    bench.publish("fresh", priority=Priority.P1)
    other = bench.claim(served=[Priority.P2], suspect=True)
    assert (other.deliveries, other.suspects) == ([], False)
    assert [bench.ids(1, suspect=True) for _ in range(3)] == [["now"], ["fresh"], ["late"]]
