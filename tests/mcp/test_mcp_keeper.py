"""A server that died, hangs or could not start comes back by itself, with what it offers then."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from omx_tasks.errors import OperationError
from omx_tasks.mcp import keeper
from omx_tasks.mcp import pool as pools
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.hints import Hints
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.mcp.session import Session


class Told:
    """What a pool told of its servers."""

    def __init__(self) -> None:
        self.outcomes: list[Session | OperationError] = []
        self.recycled: list[tuple[str, int, int]] = []
        self._news = asyncio.Event()

    def __call__(self, _server: str, outcome: Session | OperationError) -> None:
        self.outcomes.append(outcome)
        self._news.set()

    async def session(self, number: int) -> Session:
        """Wait until so many sessions were opened, and return the last of them."""
        async with asyncio.timeout(60):
            while True:
                opened = [one for one in self.outcomes if isinstance(one, Session)]
                if len(opened) >= number:
                    return opened[number - 1]
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def pool(run, agent, monkeypatch):
    monkeypatch.setattr(keeper, "PULSE", 0.5)
    made: list[SessionPool] = []

    async def make(**servers: Any) -> tuple[SessionPool, Told]:
        told = Told()
        pool = SessionPool(
            servers,
            deadline=60,
            agent=agent,
            environ={},
            told=told,
            recycled=lambda *about: told.recycled.append(about),
        )
        made.append(pool)
        await pool.warm()
        return pool, told

    yield make
    for each in made:
        run(each.close())


def names(session: Session) -> list[str]:
    return [tool["name"] for tool in session.description["tools"]]


def test_a_server_that_was_killed_is_started_again_without_being_asked_for(
    run, pool, script, tmp_path: Path
):
    offered = tmp_path / "tools"
    offered.write_text("first")

    async def scenario():
        _, told = await pool(a=script("changing", str(offered)))
        before = await told.session(1)
        offered.write_text("first second")
        os.kill(before.pid, signal.SIGKILL)
        after = await told.session(2)
        return names(before), names(after)

    assert run(scenario()) == (["first"], ["first", "second"])


def test_a_server_that_could_not_start_with_its_agent_comes_later(
    run, pool, script, tmp_path: Path
):
    offered = tmp_path / "tools"

    async def scenario():
        servers, told = await pool(a=script("changing", str(offered)))
        refused = servers.circuits()["a"].state
        offered.write_text("late")
        session = await told.session(1)
        return refused, names(session), servers.live("a") is session, told.outcomes[0]

    refused, offers, live, first = run(scenario())
    assert (refused, offers, live) == ("open", ["late"], True)
    assert isinstance(first, OperationError)
    assert "nothing to offer yet" in first.message


def test_a_server_that_hangs_is_ended_and_started_again_once_nobody_waits_for_it(
    run, pool, script, fails
):
    async def scenario():
        servers, told = await pool(a=script("jobs"))
        session = await told.session(1)
        os.kill(session.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(fails(call(session, "tool", "hold", {}, timeout=3)))
        late = await fails(call(session, "tool", "say", {"words": []}, timeout=0.2))
        servers.timed_out("a", late)
        while servers.circuits()["a"].closed:
            await asyncio.sleep(0.01)
        error = await waiting
        fresh = await told.session(2)
        value = await call(fresh, "tool", "say", {"words": ["hi"]}, timeout=60)
        return late.kind, error.kind, value["text"]

    # The other call had its own time, though the server was known to be silent long before.
    assert run(scenario()) == ("timeout", "timeout", "hi")


def test_a_server_that_hangs_is_found_before_a_call_is_made(run, pool, script, monkeypatch):
    monkeypatch.setattr(keeper, "IDLE", 0.2)

    async def scenario():
        _, told = await pool(a=script("jobs"))
        session = await told.session(1)
        os.kill(session.pid, signal.SIGSTOP)
        fresh = await told.session(2)
        return (await call(fresh, "tool", "say", {"words": ["hi"]}, timeout=60))["text"]

    assert run(scenario()) == "hi"


def test_a_server_that_leaks_is_replaced_and_its_calls_end(run, pool, script, begin, monkeypatch):
    monkeypatch.setattr(keeper, "TENURE", 0.0)
    monkeypatch.setattr(pools, "WEIGH", 0.1)
    monkeypatch.setattr(keeper, "LINGER", 0.1)

    async def scenario():
        limit = Hints(memory=100 * 2**20)
        servers, told = await pool(a=script("leaks", hints=limit))
        first = await told.session(1)
        waiting = await begin(first, call(first, "tool", "hold", {}, timeout=60))
        await call(first, "tool", "leak", {"mib": 150}, timeout=60)
        second = await told.session(2)
        fresh = await call(second, "tool", "leak", {"mib": 1}, timeout=60)
        states = [(one["state"], one["pid"]) for one in servers.sessions()]
        await call(first, "tool", "release", {}, timeout=60)
        value = await waiting
        await first.ended()
        while len(left := servers.sessions()) > 1 or not left[0]["rss"]:  # it was weighed
            await asyncio.sleep(0.01)
        (left,) = left
        pids = (first.pid, second.pid)
        return value["text"], fresh["text"], states, pids, left, told.recycled

    held, fresh, states, (first, second), left, recycled = run(scenario())
    assert (held, fresh) == ("released", "done")
    assert states == [("idle", second), ("draining", first)]
    assert (left["pid"], left["recycled"], left["protocol"]) == (second, 1, "2025-11-25")
    assert 0 < left["rss"] < 100 * 2**20
    ((server, used, limit),) = recycled
    assert (server, used > limit, limit) == ("a", True, 100 * 2**20)


def test_a_server_that_is_only_slow_is_left_alone(run, pool, script, fails, monkeypatch):
    async def scenario():
        monkeypatch.setattr(keeper, "PULSE", 60.0)
        servers, told = await pool(a=script("jobs"))
        session = await told.session(1)
        for _ in range(10):
            servers.timed_out("a", await fails(call(session, "tool", "hold", {}, timeout=0.01)))
        opened = servers.circuits()["a"].state
        while not servers.circuits()["a"].closed:
            await asyncio.sleep(0.01)
        return opened, servers.live("a") is session

    opened, same = run(scenario())
    assert opened in ("open", "half-open", "closed")
    assert same
