"""What begins and ends together travels together, and everybody gets his own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from omx_tasks.agents.steps import MOST, Steps
from omx_tasks.agents.wire import Done, Wire
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.results import joins
from omx_tasks.results.joins import Beginning, Ending, Outcome
from omx_tasks.runs.submit import new_run_id
from omx_tasks.store import keys
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.courier import Courier
from omx_tasks.store.scripts import Call

Until = Callable[..., None]
COUNT = MOST + 10


class CountingWire(Wire):
    """Keeps the names of the scripts that were called."""

    def __init__(self, store: Store, courier: Courier, batch: int) -> None:
        super().__init__(store, courier, batch=batch)
        self.called: list[str] = []

    def send(self, call: Call, done: Done, stored: Done | None = None) -> None:
        self.called.append(call.script.name)
        super().send(call, done, stored)


class Bench:
    """Steps on a loop of their own."""

    def __init__(self, store: Store, batch: int) -> None:
        self.loop = LoopThread()
        self.loop.start()
        self.courier = Courier(store).start()
        self.wire = CountingWire(store, self.courier, batch)
        self.loop.run(self.wire.open(), timeout=5)
        self.steps = Steps("agent", self.wire)

    def together(self, act: Callable[[], Any]) -> None:
        async def call() -> None:
            act()

        self.loop.run(call(), timeout=5)

    def stop(self) -> None:
        self.loop.run(self.wire.close(), timeout=5)
        self.courier.stop()
        self.loop.stop()


@pytest.fixture
def batch() -> int:
    """As many steps in one script as there are."""
    return 0


@pytest.fixture
def bench(store: Store, batch: int) -> Iterator[Bench]:
    bench = Bench(store, batch)
    yield bench
    bench.stop()


@pytest.fixture
def run_id(store: Store) -> str:
    return _submitted(store)


def _submitted(store: Store) -> str:
    operations = [Operation(id=f"o{number}", server="s", tool="t") for number in range(COUNT)]
    operations.append(Operation(id="last", server="s", tool="t", needs=["o3"]))
    plan = compile_plan(Graph(name="g", operations=operations))
    name = new_run_id()
    store.run(joins.submit(name, plan, StoredPlan.of(plan, {}), keep=60))
    return name


def test_steps_of_one_run_go_in_few_scripts_and_each_is_told_its_own_answer(
    bench: Bench, run_id: str, until: Until
) -> None:
    begun, early, ended = dict[int, Any](), dict[int, Any](), dict[int, Any]()

    def begin() -> None:
        for number in range(COUNT):
            beginning = Beginning(f"o{number}", f"token {number}")
            bench.steps.start(
                run_id, beginning, lambda answer, number=number: begun.update({number: answer})
            )

    def end() -> None:
        for number in range(COUNT):
            ending = Ending(f"o{number}", Outcome("succeeded"), goes_on=False)
            bench.steps.finish(
                run_id,
                ending,
                lambda ready, number=number: ended.update({number: ready}),
                lambda ready, number=number: early.update({number: ready}),
            )

    bench.together(begin)
    until(lambda: len(begun) == COUNT)
    assert [joins.started(begun[number], ()).verdict for number in range(COUNT)] == ["go"] * COUNT
    bench.together(end)
    until(lambda: len(ended) == COUNT)
    assert ended == {number: [[b"last"]] if number == 3 else [[]] for number in range(COUNT)}
    assert early == {number: ended[number] for number in early}
    assert bench.wire.called == ["start_1", "start_1", "finish_1", "finish_1"]


def test_what_comes_while_a_call_is_under_way_gathers_for_its_answer(
    bench: Bench, run_id: str, until: Until
) -> None:
    told = list[Any]()

    def one_by_one(number: int = 0) -> None:
        bench.steps.start(run_id, Beginning(f"o{number}", "token"), told.append)
        if number + 1 < 20:
            asyncio.get_running_loop().call_soon(one_by_one, number + 1)

    bench.together(one_by_one)
    until(lambda: len(told) == 20)
    assert bench.wire.called.count("start_1") <= 10


def test_no_run_waits_for_the_answers_of_another(
    bench: Bench, store: Store, run_id: str, until: Until
) -> None:
    other, told, under_way = _submitted(store), list[Any](), list[int]()

    def start(run: str, number: int) -> None:
        bench.steps.start(run, Beginning(f"o{number}", "token"), told.append)

    def meanwhile() -> None:
        start(run_id, 1)
        start(other, 0)
        # Before any answer is read:
        asyncio.get_running_loop().call_soon(lambda: under_way.append(len(bench.wire.called)))

    def begin() -> None:
        start(run_id, 0)
        asyncio.get_running_loop().call_soon(meanwhile)

    bench.together(begin)
    until(lambda: len(told) == 3)
    assert under_way == [2]
    assert bench.wire.called == ["start_1"] * 3


@pytest.mark.parametrize("batch", [3])
def test_no_more_steps_go_together_than_the_agent_may_take(
    bench: Bench, run_id: str, until: Until
) -> None:
    told = list[Any]()

    def begin() -> None:
        for number in range(7):
            bench.steps.start(run_id, Beginning(f"o{number}", "token"), told.append)

    bench.together(begin)
    until(lambda: len(told) == 7)
    assert bench.wire.called == ["start_1"] * 3


def test_one_who_cannot_take_his_answer_does_not_cost_the_others(
    bench: Bench, run_id: str, until: Until
) -> None:
    told = list[Any]()

    def refuse(_answer: Any) -> None:
        raise ConnectionError("the connection is closed")

    def begin() -> None:
        bench.steps.start(run_id, Beginning("o0", "token"), refuse)
        bench.steps.start(run_id, Beginning("o1", "token"), told.append)

    bench.together(begin)
    until(lambda: told)
    assert [joins.started(answer, ()).verdict for answer in told] == ["go"]


def test_an_error_is_told_to_everybody(bench: Bench, store: Store, until: Until) -> None:
    told = list[Any]()
    damaged = new_run_id()
    key = keys.run_keys(damaged)[0]
    store.command(key, "SET", key, "not a run")

    def begin() -> None:
        for number in range(3):
            bench.steps.start(damaged, Beginning(f"o{number}", "token"), told.append)

    bench.together(begin)
    until(lambda: len(told) == 3)
    assert [type(answer) for answer in told] == [StoreError] * 3
