"""What begins and ends together travels together, and everybody gets his own answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from omx_tasks.agents.steps import MOST, Steps
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins
from omx_tasks.results.joins import Beginning, Ending, Outcome
from omx_tasks.runs.submit import new_run_id
from omx_tasks.store import keys
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.courier import Courier

COUNT = MOST + 10


class CountingStore(Store):
    """Keeps the names of the scripts that were called."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout=10.0)
        self.called: list[str] = []

    def try_once(self, requests: Any, deadline: float) -> str | None:
        self.called += [request.call.script.name for request in requests]
        return super().try_once(requests, deadline)


@pytest.fixture
def counting(cluster_url: str) -> Iterator[CountingStore]:
    with closing(CountingStore(cluster_url)) as store:
        yield store


@pytest.fixture
def courier(counting: CountingStore) -> Iterator[Courier]:
    """A courier that has not started yet."""
    courier = Courier(counting)
    yield courier
    courier.stop()


@pytest.fixture
def run_id(store: Store) -> str:
    operations = [Operation(id=f"o{number}", server="s", tool="t") for number in range(COUNT)]
    operations.append(Operation(id="last", server="s", tool="t", needs=["o3"]))
    plan = compile_plan(Graph(name="g", operations=operations))
    name = new_run_id()
    store.run(joins.submit(name, plan, StoredPlan.of(plan, {}), keep=60))
    return name


def test_steps_of_one_run_go_in_few_scripts_and_each_is_told_its_own_answer(
    courier: Courier, counting: CountingStore, run_id: str
) -> None:
    steps, begun, ended = Steps("agent", courier), dict[int, Any](), dict[int, Any]()
    for number in range(COUNT):
        beginning = Beginning(f"o{number}", f"token {number}")
        steps.start(run_id, beginning, lambda answer, number=number: begun.update({number: answer}))
    courier.start()
    assert courier.flush(5)
    assert [joins.started(begun[number], ()).verdict for number in range(COUNT)] == ["go"] * COUNT
    assert counting.called == ["start_1", "start_1"]

    courier.stop()
    counting.called.clear()
    for number in range(COUNT):
        ending = Ending(f"o{number}", Outcome("succeeded"), goes_on=False)
        steps.finish(run_id, ending, lambda ready, number=number: ended.update({number: ready}))
    courier.start()
    assert courier.flush(5)
    assert ended == {number: [b"last"] if number == 3 else [] for number in range(COUNT)}
    assert counting.called[:2] == ["finish_1", "finish_1"]


def test_one_who_cannot_take_his_answer_does_not_cost_the_others(
    courier: Courier, run_id: str
) -> None:
    steps, told = Steps("agent", courier), list[Any]()

    def refuse(_answer: Any) -> None:
        raise ConnectionError("the connection is closed")

    steps.start(run_id, Beginning("o0", "token"), refuse)
    steps.start(run_id, Beginning("o1", "token"), told.append)
    courier.start()
    assert courier.flush(5)
    assert [joins.started(answer, ()).verdict for answer in told] == ["go"]


def test_an_error_is_told_to_everybody(courier: Courier, store: Store) -> None:
    steps, told = Steps("agent", courier), list[Any]()
    damaged = new_run_id()
    key = keys.run_keys(damaged)[0]
    store.command(key, "SET", key, "not a run")
    for number in range(3):
        steps.start(damaged, Beginning(f"o{number}", "token"), told.append)
    courier.start()
    assert courier.flush(5)
    assert [type(answer) for answer in told] == [StoreError] * 3
