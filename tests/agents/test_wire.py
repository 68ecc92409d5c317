from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from omx_tasks.agents.wire import Wire
from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.errors import OmxError
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.courier import Courier
from omx_tasks.store.scripts import Call
from omx_tasks.store.topology import slot_of

Until = Callable[..., None]


class Bench:
    """A wire on a loop of its own, and the answers that came."""

    def __init__(self, store: Store) -> None:
        self.loop = LoopThread()
        self.loop.start()
        self.courier = Courier(store).start()
        self.wire = Wire(store, self.courier)
        self.answers: list[Any] = []
        self.threads: set[str] = set()
        self.loop.run(self.wire.open(), timeout=5)

    def on_loop(self, act: Callable[..., Any], *arguments: Any) -> Any:
        async def call() -> Any:
            return act(*arguments)

        return self.loop.run(call(), timeout=5)

    def send(self, *calls: Call) -> None:
        self.on_loop(lambda: [self.wire.send(call, self._take) for call in calls])

    def _take(self, answer: Any) -> None:
        self.threads.add(threading.current_thread().name)
        self.answers.append(answer)

    def warm_up(self, queue: str, until: Until) -> None:
        """Make calls until the wire has links of its own to a queue's node, also for durable calls."""
        slot = slot_of(keys.meta(queue))
        calls = (queues.stats(queue), _publish(queue, "warm"))
        every = (self.wire._links, self.wire._durable_links)

        def went() -> bool:
            self.send(*calls)
            return all(self.on_loop(links.of, slot) for links in every)

        until(went)
        self.settle(until)
        self.answers.clear()

    def settle(self, until: Until) -> None:
        until(lambda: not any(self.on_loop(lambda: list(self.wire._on_its_way.values()))))
        self.courier.flush(5)

    def stop(self) -> None:
        self.loop.run(self.wire.close(), timeout=5)
        self.courier.stop()
        self.loop.stop()


@pytest.fixture
def bench(store: Store) -> Iterator[Bench]:
    bench = Bench(store)
    yield bench
    bench.stop()


def _publish(queue: str, name: str) -> Call:
    return queues.publish(queue, [Posting(name, "x")])


def test_calls_are_answered_on_the_loop_in_order(bench: Bench, queue: str, until: Until) -> None:
    bench.warm_up(queue, until)
    bench.send(*(_publish(queue, name) for name in ("a", "b", "a")))
    until(lambda: len(bench.answers) == 3)
    assert bench.answers == [[1, 0], [1, 0], [0, 1]]
    assert bench.threads == {"omx-mcp-loop"}


def test_before_there_is_a_link_the_courier_carries(bench: Bench, queue: str, until: Until) -> None:
    bench.send(_publish(queue, "a"))
    until(lambda: bench.answers == [[1, 0]])
    assert bench.threads == {"omx-mcp-loop"}


def test_what_a_broken_link_did_not_answer_is_carried_again(
    bench: Bench, queue: str, until: Until
) -> None:
    bench.warm_up(queue, until)

    def send_and_break() -> None:
        for name in ("a", "b"):
            bench.wire.send(_publish(queue, name), bench._take)
        for link in bench.wire._durable_links._links.values():
            link._socket.shutdown(2)  # type: ignore[union-attr]

    bench.on_loop(send_and_break)
    until(lambda: len(bench.answers) == 2)
    assert bench.answers == [[1, 0], [1, 0]]
    bench.warm_up(queue, until)  # there is a link again


def test_an_answer_is_told_when_it_is_stored_and_again_when_it_is_confirmed(
    bench: Bench, queue: str, until: Until
) -> None:
    bench.warm_up(queue, until)
    told: list[tuple[str, Any]] = []

    def send() -> None:
        bench.wire.send(
            _publish(queue, "a"),
            lambda answer: told.append(("confirmed", answer)),
            lambda answer: told.append(("stored", answer)),
        )

    bench.on_loop(send)
    until(lambda: len(told) == 2)
    assert told == [("stored", [1, 0]), ("confirmed", [1, 0])]


def test_a_call_for_the_wrong_node_finds_the_right_one(
    bench: Bench, store: Store, queue: str, until: Until
) -> None:
    bench.warm_up(queue, until)
    slot = slot_of(f"{{{queue}}}")
    owners = {store.topology.owner(s) for s in range(0, 16384, 512)}
    wrong = next(node for node in owners if node and node != store.topology.owner(slot))
    store.topology.moved(slot, wrong)
    bench.send(_publish(queue, "a"))
    until(lambda: bench.answers == [[1, 0]])


def test_a_refusal_is_an_answer(bench: Bench, queue: str, until: Until) -> None:
    call = _publish(queue, "a")
    bench.send(Call(call.script, call.keys, ("too", "few")))
    until(lambda: bench.answers)
    assert isinstance(bench.answers[0], OmxError)


def test_a_fault_in_one_answer_does_not_keep_the_others(
    bench: Bench, queue: str, until: Until
) -> None:
    bench.warm_up(queue, until)

    def fail(_answer: Any) -> None:
        raise ValueError("a fault")

    def send() -> None:
        bench.wire.send(_publish(queue, "a"), fail)
        bench.wire.send(_publish(queue, "b"), bench._take)

    bench.on_loop(send)
    until(lambda: bench.answers == [[1, 0]])
