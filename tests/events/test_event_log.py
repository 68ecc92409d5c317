"""The scripts of the events' log: order, cursors, retry lines, leases, trimming, and what happens twice."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from omx_tasks.events import log
from omx_tasks.events.log import Claim, Entry, Group, Keeping
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script
from omx_tasks.store.topology import slot_of

Until = Callable[..., None]

KEEPING = Keeping()


class Partition:
    """One partition under test, with a producer and consumers."""

    def __init__(self, store: Store, number: int, group: Group, word: str) -> None:
        self.store, self.number, self.group, self.word = store, number, group, word
        self._batches = itertools.count(1)

    def publish(
        self, *texts: str, priority: int = 2, key: str = "", name: str = "", keeping: Any = KEEPING
    ) -> bytes:
        return self.put(
            next(self._batches), *texts, priority=priority, key=key, name=name, keeping=keeping
        )

    def put(
        self,
        number: int,
        *texts: str,
        priority: int = 2,
        key: str = "",
        name: str = "",
        keeping: Keeping = KEEPING,
    ) -> bytes:
        entries = [Entry(priority, name or f"{self.word}.happened", key, text) for text in texts]
        call = log.publish(self.number, "producer", number, entries, keeping=keeping)
        answer: bytes = self.store.run(call)
        return answer

    def claim(
        self, consumer: str = "one", *, most: int = 100, new: Iterable[Priority] = Priority
    ) -> Claim:
        call = log.claim(
            self.number,
            self.group,
            consumer,
            wants=True,
            most=most,
            new=new,
            again=True,
            durable=True,
        )
        return log.claimed(self.store.run(call))

    def ack(self, *words: object, consumer: str = "one", gives_back: bool = False) -> bytes:
        call = log.ack(self.number, self.group, consumer, words, gives_back=gives_back)
        answer: bytes = self.store.run(call)
        return answer

    def dead(self) -> list[dict[bytes, bytes]]:
        key = keys.event_dead(self.number, self.group.name)
        entries = self.store.command(key, "XRANGE", key, "-", "+")
        return [dict(zip(e[1][::2], e[1][1::2], strict=True)) for e in entries]

    def replay(self, *ids: str) -> int:
        names = keys.event_group_keys(self.number, self.group.name)
        return int(self.store.run(Call(script("event_replay_1"), names, ids, durable=True)))

    def dead_ids(self) -> list[str]:
        key = keys.event_dead(self.number, self.group.name)
        return [entry[0].decode() for entry in self.store.command(key, "XRANGE", key, "-", "+")]

    def length(self, priority: int = 2) -> int:
        key = keys.event_log(self.number, priority)
        return int(self.store.command(key, "XLEN", key))


@pytest.fixture
def place(store: Store, partition: int, group: Group, word: str) -> Partition:
    place = Partition(store, partition, group, word)
    place.claim()  # the group is there before what is published
    place.ack(gives_back=True)
    return place


def texts(claim: Claim) -> list[str]:
    return [one.text.decode() for one in claim.given]


def test_partitions_are_spread_evenly_over_three_masters() -> None:
    for count in (3, 6, 9):
        masters = [slot_of(keys.event_meta(n)) * 3 // 16384 for n in range(count)]
        assert [masters.count(n) for n in range(3)] == [count // 3] * 3


def test_the_urgent_is_given_first_and_each_priority_in_order(place: Partition) -> None:
    place.publish("a", "b", priority=3)
    place.publish("c", "d", priority=0)
    place.publish("e", priority=1)
    claim = place.claim()
    assert claim.ours
    assert texts(claim) == ["c", "d", "e", "a", "b"]
    assert claim.looked_to == (2, 1, 0, 2)


def test_a_batch_that_is_sent_twice_is_stored_once(place: Partition) -> None:
    assert place.put(7, "a") == b"stored"
    assert place.put(7, "a") == b"known"
    assert place.put(8, "b") == b"stored"
    assert texts(place.claim()) == ["a", "b"]


def test_a_claim_that_is_asked_twice_gives_the_same_until_it_is_acknowledged(
    place: Partition,
) -> None:
    place.publish("a", "b", "c")
    assert texts(place.claim(most=2)) == ["a", "b"]
    assert texts(place.claim(most=2)) == ["a", "b"]
    assert place.ack("to", 2, 2) == b"done"
    assert place.ack("to", 2, 2) == b"done"
    claim = place.claim(most=2)
    assert texts(claim) == ["c"]
    assert claim.more == frozenset()


def test_only_types_that_match_are_given_and_the_others_are_passed(place: Partition) -> None:
    place.publish("no", name="other.thing")
    place.publish("yes")
    place.publish("no", "no", name="other.thing")
    claim = place.claim()
    assert texts(claim) == ["yes"]
    assert claim.looked_to[2] == 4
    place.ack("to", 2, 4)
    assert texts(place.claim()) == []


def test_a_partition_has_one_consumer_until_its_lease_ends_or_it_gives_it_back(
    place: Partition,
) -> None:
    place.publish("a")
    assert place.claim("one").ours
    claim = place.claim("two")
    assert not claim.ours
    assert 0 < claim.due <= 10_000
    assert claim.consumers == 2
    assert place.ack("to", 2, 1, consumer="two") == b"fenced"
    place.ack(gives_back=True)
    assert texts(place.claim("two")) == ["a"]
    assert place.ack("to", 2, 1, consumer="one") == b"fenced"
    assert place.ack("to", 2, 1, consumer="two") == b"done"


def test_what_failed_is_tried_again_and_what_follows_of_its_key_waits_behind(
    place: Partition, until: Until
) -> None:
    place.publish("a1", "a2", key="a")
    place.publish("b1", key="b")
    assert texts(place.claim()) == ["a1", "a2", "b1"]
    place.ack("to", 2, 3, "failed", 2, 1, 50, 1, "behind", 2, 2)
    place.publish("a3", key="a")
    place.publish("b2", key="b")
    claim = place.claim()
    assert [(one.kind, one.text) for one in claim.given] == [("behind", b""), ("new", b"b2")]
    place.ack("to", 2, 5, "behind", 2, 4)
    until(lambda: texts(place.claim()) == ["a1", "a2", "a3"])
    claim = place.claim()
    assert [(one.kind, one.tried) for one in claim.given] == [
        ("again", 1),
        ("again", 0),
        ("again", 0),
    ]
    place.ack("done", claim.given[0].place, "again", claim.given[1].place, 0, 1)
    until(lambda: texts(place.claim()) == ["a2", "a3"])
    for one in place.claim().given:
        place.ack("done", one.place)
    place.publish("a4", key="a")
    assert [(one.kind, one.text) for one in place.claim().given] == [("new", b"a4")]


def test_a_dead_event_that_is_put_back_comes_before_what_waits_with_its_key(
    place: Partition,
) -> None:
    place.publish("a1", "a2", key="a")
    place.claim()
    place.ack("to", 2, 2, "dead", 2, 1, "ValueError", 5, "failed", 2, 2, 0, 1)
    (dead,) = place.dead_ids()
    assert place.replay(dead) == 1
    assert place.replay(dead) == 0
    claim = place.claim()
    assert texts(claim) == ["a1", "a2"]
    assert [one.tried for one in claim.given] == [0, 1]
    place.ack("parked", claim.given[0].place, "again", "done", claim.given[1].place)
    assert place.replay(*place.dead_ids()) == 1  # also one that was tried again
    assert texts(place.claim()) == ["a1"]


def test_nothing_waits_behind_an_event_without_a_key(place: Partition) -> None:
    place.publish("x", "y")
    place.claim()
    place.ack("to", 2, 2, "failed", 2, 1, 60_000, 1)
    place.publish("z")
    assert texts(place.claim()) == ["z"]


def test_what_failed_too_often_is_parked_with_its_error_and_lets_its_key_go_on(
    place: Partition,
) -> None:
    place.publish("a1", "a2", key="a")
    place.claim()
    place.ack("to", 2, 2, "failed", 2, 1, 0, 1, "behind", 2, 2)
    first = place.claim().given[0]
    place.ack("parked", first.place, "it is broken")
    place.ack("parked", first.place, "it is broken")
    assert [(one[b"e"], one[b"error"]) for one in place.dead()] == [(b"a1", b"it is broken")]
    assert texts(place.claim()) == ["a2"]


def test_a_failure_that_is_told_twice_counts_once(place: Partition) -> None:
    place.publish("a")
    place.claim()
    for _ in range(2):
        place.ack("to", 2, 1, "failed", 2, 1, 0, 1)
    again = place.claim().given[0]
    for _ in range(2):
        place.ack("again", again.place, 0, 2)
    assert place.claim().given[0].tried == 2


def test_an_event_that_kills_its_consumers_is_found_and_parked(
    store: Store, partition: int, group: Group, word: str, until: Until
) -> None:
    dying = dataclasses.replace(group, lease=30, deliveries=3)
    place = Partition(store, partition, dying, word)
    place.publish("good", "poison", "after")
    consumers = (f"consumer-{n}" for n in itertools.count())
    handled: list[str] = []

    def live_and_die() -> bool:
        consumer = next(consumers)
        until(lambda: place.claim(consumer).ours)
        while given := place.claim(consumer).given:
            for one in given:
                if one.text == b"poison":
                    return False
                handled.append(one.text.decode())
            place.ack("to", 2, given[-1].place, consumer=consumer)
        return True

    until(live_and_die)
    assert handled == ["good", "good", "after"]  # the first consumer died before its ack
    assert [one[b"e"] for one in place.dead()] == [b"poison"]


def test_a_full_hand_that_was_lost_is_made_up_for_in_few_claims(
    store: Store, partition: int, group: Group, word: str, until: Until
) -> None:
    place = Partition(store, partition, dataclasses.replace(group, lease=30), word)
    place.publish(*map(str, range(1000)))
    assert len(place.claim("one", most=1000).given) == 1000
    until(lambda: place.claim("two", most=0).ours)
    parts = []
    while given := place.claim("two", most=1000).given:
        parts.append(len(given))
        place.ack("to", 2, given[-1].place, consumer="two")
    assert sum(parts) == 1000
    assert len(parts) < 40


def test_poison_among_many_is_found_and_nothing_else_is_parked(
    store: Store, partition: int, group: Group, word: str, until: Until
) -> None:
    dying = dataclasses.replace(group, lease=20, deliveries=2)
    place = Partition(store, partition, dying, word)
    place.publish(*("poison" if n == 20 else "good" for n in range(1000)))
    consumers = (f"consumer-{n}" for n in itertools.count())

    def live_and_die() -> bool:
        consumer = next(consumers)
        until(lambda: place.claim(consumer, most=0).ours)
        while given := place.claim(consumer, most=1000).given:
            if any(one.text == b"poison" for one in given):
                return False
            place.ack("to", 2, given[-1].place, consumer=consumer)
        return True

    until(live_and_die)
    assert [one[b"e"] for one in place.dead()] == [b"poison"]


def test_a_poisonous_event_in_the_retry_line_counts_its_consumers_too(
    store: Store, partition: int, group: Group, word: str, until: Until
) -> None:
    place = Partition(store, partition, dataclasses.replace(group, lease=30), word)
    place.publish("a", "b")
    place.claim("one")
    place.ack("to", 2, 2, "failed", 2, 1, 0, 1, "failed", 2, 2, 0, 1)
    assert [one.tried for one in place.claim("one").given] == [1, 1]
    until(lambda: place.claim("two").ours)
    given = place.claim("two").given
    assert [one.tried for one in given] == [2]  # one at a time from now on


def test_old_events_go_but_never_those_that_a_group_has_not_handled(place: Partition) -> None:
    keeping = Keeping(history=10)
    place.publish(*(str(n) for n in range(100)), keeping=keeping)
    place.publish("100", keeping=keeping)
    assert place.length() == 101
    claim = place.claim(most=1000)
    assert len(claim.given) == 101
    place.ack("to", 2, 60)
    place.publish("101", keeping=keeping)
    assert place.length() == 102 - 60
    place.ack("to", 2, 102)
    place.publish("102", keeping=keeping)
    assert place.length() == 11


def test_a_group_that_lives_makes_producers_wait_at_the_limit(place: Partition) -> None:
    keeping = Keeping(history=10, limit=20)
    place.publish(*map(str, range(25)), keeping=keeping)
    place.claim()
    assert place.put(50, "more", keeping=keeping) == b"full"
    place.ack("to", 2, 25)
    assert place.put(50, "more", keeping=keeping) == b"stored"


def test_a_group_that_is_dead_is_passed_over_at_the_limit_and_its_loss_is_counted(
    place: Partition, until: Until
) -> None:
    keeping = Keeping(history=10, limit=20, patience=0.01)
    place.publish(*map(str, range(25)), keeping=keeping)
    until(lambda: place.put(50, "more", keeping=keeping) == b"stored")
    dropped = keys.event_dropped(place.number)
    assert int(place.store.command(dropped, "HGET", dropped, place.group.name)) == 15
    assert texts(place.claim()) == [*map(str, range(15, 25)), "more"]


def test_a_group_that_begins_new_is_not_given_what_happened_before(
    store: Store, partition: int, group: Group, word: str
) -> None:
    place = Partition(store, partition, dataclasses.replace(group, begins="new"), word)
    place.publish("before")
    assert texts(place.claim()) == []
    place.publish("after")
    assert texts(place.claim()) == ["after"]


def test_the_first_to_open_the_log_decides_how_many_partitions_it_has(store: Store) -> None:
    there = log.open_log(store, 6)
    assert log.open_log(store, there + 5) == there
