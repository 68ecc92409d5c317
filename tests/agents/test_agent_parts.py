"""The small parts of an agent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from omx_tasks.agents.capabilities import Capabilities
from omx_tasks.agents.handover import Handover
from omx_tasks.agents.plans import Plans
from omx_tasks.agents.pool import named
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.mcp.loop import LoopThread


def _document(size: int) -> bytes:
    operations = [Operation(id=f"o{n}", server="s", tool="t") for n in range(size)]
    return (
        StoredPlan.of(compile_plan(Graph(name="g", operations=operations)), {}).document().encode()
    )


def test_plans_that_were_not_used_lately_are_forgotten_by_their_size() -> None:
    read: list[str] = []

    async def fetch(run_id: str) -> bytes:
        read.append(run_id)
        return _document(10)

    async def scenario() -> None:
        plans = Plans(fetch, kept_steps=25)
        for run_id in ("a", "b", "a", "c", "a", "b"):
            assert await plans.get(run_id) is not None

    asyncio.run(scenario())
    assert read == ["a", "b", "c", "b"]


def test_one_plan_is_kept_however_large_it_is() -> None:
    async def fetch(_run_id: str) -> bytes:
        return _document(50)

    async def scenario() -> None:
        plans = Plans(fetch, kept_steps=1)
        assert await plans.get("a") is await plans.get("a")

    asyncio.run(scenario())


def test_a_plan_that_could_not_be_read_is_read_again() -> None:
    answers: list[bytes | Exception | None] = [OSError("down"), None, _document(1)]

    async def fetch(_run_id: str) -> bytes | None:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scenario() -> None:
        plans = Plans(fetch)
        with pytest.raises(OSError, match="down"):
            await plans.get("a")
        assert await plans.get("a") is None
        assert await plans.get("a") is not None

    asyncio.run(scenario())


def test_reading_a_plan_goes_on_for_the_others_when_one_who_waits_is_cancelled() -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        async def fetch(_run_id: str) -> bytes:
            await gate.wait()
            return _document(1)

        plans = Plans(fetch)
        first, second = (asyncio.create_task(plans.get("a")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        gate.set()
        assert await second is not None

    asyncio.run(scenario())


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    loop.start()
    yield loop
    loop.stop()


def test_everything_handed_over_is_called_once_in_order_on_the_loop(loop: LoopThread) -> None:
    handover, called, end = Handover(loop), [], threading.Event()
    for number in range(10_000):
        handover.call(called.append, number)
    handover.call(end.set)
    assert end.wait(60)
    assert called == list(range(10_000))


def test_many_threads_hand_over_and_nothing_is_left_lying(loop: LoopThread) -> None:
    handover, called, end = Handover(loop), [], threading.Event()

    def count(number: int) -> None:
        called.append(number)
        if len(called) == 8000:
            end.set()

    threads = [
        threading.Thread(target=lambda: [handover.call(count, n) for n in range(1000)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert end.wait(60)


def test_a_fault_in_one_callback_does_not_cost_the_next(loop: LoopThread) -> None:
    handover, end = Handover(loop), threading.Event()
    handover.call(lambda: 1 / 0)
    handover.call(end.set)
    assert end.wait(60)


@pytest.mark.parametrize(
    ("wanted", "covered"),
    [
        ("server:a", True),
        ("server:a+server:b", True),
        ("documentation_review+server:a", True),
        ("server:c", False),
        ("server:a+server:c", False),
        ("server:a+training", False),
        ("documentation_review+server:a+training", False),
    ],
)
def test_an_agent_covers_its_servers_and_the_words_of_its_template(
    wanted: str, covered: bool
) -> None:
    assert Capabilities(["a", "b"], ["documentation_review"]).covers(wanted) is covered


def test_an_agent_always_serves_each_of_its_servers() -> None:
    assert Capabilities(["b", "a"]).own_sets() == ["server:a", "server:b"]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ('[["run", "a"], {}, {}]', ("run", "a")),
        (b'[["run", "a"], {}, {}]', ("run", "a")),
        (memoryview(b'[["run", "a"], {}, {}]'), ("run", "a")),
        ("[[], {}, {}]", None),
        ("[[1, 2], {}, {}]", None),
        ('[["run"], {}, {}]', None),
        ("not json", None),
        (b"\xff", None),
        (None, None),
        ("[]", None),
    ],
)
def test_a_message_names_its_operation_or_nothing(body: object, names: object) -> None:
    assert named(body) == names  # type: ignore[arg-type]
