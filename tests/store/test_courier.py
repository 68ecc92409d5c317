from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.errors import UnavailableError
from omx_tasks.store import courier as couriers
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.courier import Courier
from omx_tasks.store.scripts import Call, script
from omx_tasks.store.topology import slot_of


@pytest.fixture
def courier(store: Store) -> Iterator[Courier]:
    courier = Courier(store).start()
    yield courier
    courier.stop()


def _publish(queue: str, name: str) -> Call:
    return queues.publish(queue, [Posting(name, "x")])


def test_an_answer_is_told(courier: Courier, queue: str) -> None:
    answers: list[Any] = []
    courier.send(_publish(queue, "1"), answers.append)
    assert courier.flush(60)
    assert answers == [[1, 0]]


def test_what_gathers_during_a_trip_goes_out_as_one_parcel(courier: Courier, queue: str) -> None:
    under_way, go_on = threading.Event(), threading.Event()
    merged: list[list[str]] = []
    gathered: list[str] = []

    def hold(_answer: Any) -> None:
        under_way.set()
        go_on.wait(60)

    def parcel() -> Any:
        merged.append(list(gathered))
        return [(_publish(queue, name), None) for name in gathered]

    courier.send(_publish(queue, "first"), hold)
    assert under_way.wait(60)
    courier.post(parcel)
    gathered += ["a", "b", "c"]
    go_on.set()
    assert courier.flush(60)
    assert merged == [["a", "b", "c"]]


def test_a_courier_with_an_interval_leaves_at_once_after_a_rest_and_then_gathers(
    store: Store, queue: str
) -> None:
    store.run(_publish(queue, "teaches the server the script"))
    courier = Courier(store, interval=3600).start()
    trips: list[int] = []
    try_once = store.try_once

    def counted(requests: list[Any], deadline: float) -> str | None:
        trips.append(len(requests))
        return try_once(requests, deadline)

    store.try_once = counted  # type: ignore[method-assign]
    first = threading.Event()
    courier.send(_publish(queue, "first"), lambda _answer: first.set())
    assert first.wait(60)
    for number in range(3):
        courier.send(_publish(queue, str(number)))
    assert courier.flush(60), "a flush is not kept waiting"
    courier.stop()
    assert trips == [1, 3]


def test_a_script_that_a_node_does_not_know_takes_no_trip_more(
    store: Store, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "PAUSE", 3600.0)
    store.command(f"{{{queue}}}", "SCRIPT", "FLUSH")
    courier = Courier(store).start()
    came = threading.Event()
    courier.send(_publish(queue, "1"), lambda _answer: came.set())
    assert came.wait(60)
    courier.stop()


def test_a_regular_parcel_is_posted_again_and_again(courier: Courier, queue: str) -> None:
    thrice = threading.Semaphore(0)

    def told(_answer: Any) -> None:
        thrice.release()

    courier.every(0.01, lambda: [(_publish(queue, "x"), told)])
    for _ in range(3):
        assert thrice.acquire(timeout=60)


def test_stopping_carries_what_was_posted_and_what_its_answers_post(
    store: Store, queue: str
) -> None:
    courier = Courier(store).start()
    answers: list[Any] = []

    def then(_answer: Any) -> None:
        courier.send(_publish(queue, "second"), answers.append)

    courier.send(_publish(queue, "first"), then)
    courier.stop()
    assert answers == [[1, 0]]


def test_a_flush_returns_at_once_when_nothing_runs(store: Store) -> None:
    assert Courier(store).flush(60) is False


def test_a_refused_call_is_told_as_an_error(courier: Courier, store: Store, queue: str) -> None:
    answers: list[Any] = []
    store.command(f"{{{queue}}}", "SET", f"{{{queue}}}", "text")
    courier.send(Call(script("chord_1"), (f"{{{queue}}}",), ("part", 0)), answers.append)
    assert courier.flush(60)
    assert isinstance(answers[0], StoreError)


def test_a_faulty_parcel_or_answer_does_not_end_the_courier(courier: Courier, queue: str) -> None:
    def faulty(*_args: Any) -> Any:
        raise RuntimeError("a fault of the sender")

    answers: list[Any] = []
    courier.post(faulty)
    courier.send(_publish(queue, "1"), faulty)
    courier.send(_publish(queue, "2"), answers.append)
    assert courier.flush(60)
    assert answers == [[1, 0]]


def test_one_dead_shard_does_not_hold_up_the_others(cluster_url: str, queue: str) -> None:
    store = Store(cluster_url, timeout=1.5)
    store.ping(5)
    other = next(
        name
        for name in (f"{queue}-{i}" for i in range(100))
        if store.topology.owner(slot_of(name)) != store.topology.owner(slot_of(queue))
    )
    dead = Node("127.0.0.1", 1)
    store.topology.refresh = lambda timeout: None  # type: ignore[method-assign]
    store.topology.moved(slot_of(queue), dead)
    courier = Courier(store).start()
    answers: list[tuple[str, Any]] = []
    came = threading.Event()
    courier.send(_publish(queue, "1"), lambda answer: answers.append(("dead", answer)))

    def living(answer: Any) -> None:
        answers.append(("living", answer))
        came.set()

    courier.send(_publish(other, "1"), living)
    assert came.wait(60)
    assert courier.flush(60)
    courier.stop()
    store.close()
    assert answers[0] == ("living", [1, 0])
    assert answers[1][0] == "dead"
    assert isinstance(answers[1][1], UnavailableError)
