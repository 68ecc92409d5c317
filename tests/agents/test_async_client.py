"""Runs, awaited: many at once with one thread that follows them all, and nothing is left of who was cancelled."""

from __future__ import annotations

import asyncio
import threading
import uuid

import pytest
from fleet import Fleet

from omx_tasks import AsyncClient, Graph
from omx_tasks.errors import GraphError, NotFoundError
from omx_tasks.runs.listing import recent
from omx_tasks.store.client import Store


def _graph(shared: Fleet, tool: str = "read", **arguments: object) -> Graph:
    call = shared.call("a", tool, arguments=arguments)
    return Graph(name=uuid.uuid4().hex, operations=[call, shared.call("b", needs=["a"])])


def test_many_runs_at_once_have_one_thread_that_follows_them(shared: Fleet, store: Store) -> None:
    async def one(client: AsyncClient) -> list[str]:
        run = await client.submit(_graph(shared))
        told = [change.state async for change in run.changes(30) if not change.operation]
        assert (await run.wait(60)).succeeded
        return told

    async def all_of_them() -> tuple[list[list[str]], list[str]]:
        async with AsyncClient(store) as client:
            told = await asyncio.gather(*(one(client) for _ in range(40)))
            return told, [thread.name for thread in threading.enumerate()]

    told, threads = asyncio.run(all_of_them())
    assert told == [["running", "succeeded"]] * 40
    assert threads.count("followers") <= 1
    assert sum(name.startswith("omx_") for name in threads) <= 4


def test_who_is_cancelled_follows_no_more_and_the_run_goes_on(shared: Fleet, store: Store) -> None:
    async def begin() -> str:
        async with AsyncClient(store) as client:
            run = await client.submit(_graph(shared, seconds=0.5))
            waiting = asyncio.create_task(run.wait())
            async for change in run.changes(30):
                if change.operation:
                    break
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(TimeoutError, match="it goes on"):
                await run.wait(0.01)
            assert "of 0 runs" in repr(client.followers)
            return (await client.run(run.id).wait(60)).state

    assert asyncio.run(begin()) == "succeeded"


def test_a_run_whose_submission_was_cut_off_does_not_go_on(shared: Fleet, store: Store) -> None:
    graphs = [_graph(shared, seconds=20) for _ in range(5)]

    async def cut_off() -> None:
        async with AsyncClient(store) as client:
            for number, graph in enumerate(graphs):
                submitting = asyncio.create_task(client.submit(graph))
                await asyncio.wait([submitting], timeout=0.003 * number)
                if submitting.done():
                    await (await submitting).cancel()
                submitting.cancel()

    asyncio.run(cut_off())
    names = {graph.name for graph in graphs}
    states = {line.state for line in recent(store, 50) if line.name in names}
    assert states <= {"cancelled"}


def test_errors_are_those_of_the_other_interface(shared: Fleet, store: Store) -> None:
    async def wrong() -> None:
        async with AsyncClient(store) as client:
            with pytest.raises(GraphError, match="has no tool 'reed'"):
                await client.submit(_graph(shared, tool="reed"))
            with pytest.raises(NotFoundError, match="there is no run 'nix'"):
                await client.run("nix").wait(60)
            assert not await client.run("nix").cancel()

    asyncio.run(wrong())
