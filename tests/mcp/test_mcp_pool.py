"""The pool: one session per server, shared, reopened when it dies, fast to fail when it loops."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from omx_tasks.mcp.calls import call
from omx_tasks.mcp.circuit import MOST
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.keeper import SETTLED
from omx_tasks.mcp.pool import SessionPool


class Clock:
    """Time that a test moves by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pool(run, agent, clock):
    made = []

    def make(**servers):
        pool = SessionPool(servers, deadline=60, agent=agent, environ={"KEY": "value"}, clock=clock)
        made.append(pool)
        return pool

    yield make
    for each in made:
        run(each.close())


async def gone(session):
    """Kill a session's server and wait until that is known."""
    os.kill(session.pid, signal.SIGKILL)
    await asyncio.wait([session._owner])


def test_warming_opens_all_and_reports_each_failure(run, pool, script):
    servers = pool(good=script("jobs"), bad=script("exits"))
    outcome = run(servers.warm())
    assert outcome["good"] is None
    assert outcome["bad"].kind == "server"
    assert "status 3" in outcome["bad"].message


def test_a_session_is_live_from_its_opening_to_its_end(run, pool, script):
    servers = pool(a=script("jobs"))

    async def seen():
        before = servers.live("a")
        session = await servers.get("a")
        opened = servers.live("a")
        await gone(session)
        return before, opened is session, servers.live("a"), servers.live("nobody")

    assert run(seen()) == (None, True, None, None)


def test_waiters_share_one_opening_and_one_session(run, pool, script):
    servers = pool(a=script("jobs"))

    async def scenario():
        return await asyncio.gather(*(servers.get("a") for _ in range(10)))

    assert len({id(session) for session in run(scenario())}) == 1


def test_one_waiter_that_gives_up_does_not_take_the_others_along(run, pool, script):
    servers = pool(a=script("jobs"))

    async def scenario():
        first = asyncio.create_task(servers.get("a"))
        second = asyncio.create_task(servers.get("a"))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert run(scenario()).alive


def test_an_unknown_server_is_named_with_a_suggestion(run, pool, script, fails):
    error = run(fails(pool(weather=script("jobs")).get("wether")))
    assert error.kind == "server"
    assert "Did you mean 'weather'?" in error.message


def test_a_dead_session_is_replaced(run, pool, script):
    servers = pool(a=script("jobs"))

    async def scenario():
        first = await servers.get("a")
        await gone(first)
        second = await servers.get("a")
        return first, second, await call(second, "tool", "say", {"words": ["hi"]}, timeout=60)

    first, second, value = run(scenario())
    assert first is not second
    assert value["text"] == "hi"


def test_a_server_that_cannot_start_fails_fast_until_its_pause_is_over(
    run, pool, script, fails, clock
):
    servers = pool(a=script("exits"))

    async def scenario():
        return [await fails(servers.get("a")) for _ in range(2)]

    first, second = run(scenario())
    assert "is not called" not in first.message
    assert "is not called for 0." in second.message
    assert "status 3" in second.message
    clock.now += 0.6
    assert "is not called" not in run(fails(servers.get("a"))).message
    clock.now += 0.4
    assert "after 2 failures in a row" in run(fails(servers.get("a"))).message


def test_a_server_that_keeps_crashing_after_its_start_is_paused_on(run, pool, script, fails, clock):
    servers = pool(a=script("jobs"))

    async def scenario():
        for _ in range(MOST):
            await gone(await servers.get("a"))
        error = await fails(servers.get("a"))
        clock.now += 60
        session = await servers.get("a")
        clock.now += SETTLED
        await gone(session)
        return error, await servers.get("a")

    error, session = run(scenario())
    assert "SIGKILL" in error.message
    assert session.alive


def test_variables_are_resolved_when_the_server_is_opened(run, pool, script, fails):
    plain = script("jobs")
    keys = {"name": "a", "path": plain.path, "transport": "stdio", "command": plain.command}
    fine = ServerConfig(**keys, args=plain.args, env={"SEEN": "${KEY}"})
    lacking = ServerConfig(**keys, args=plain.args, env={"SEEN": "${LACKING}"})
    servers = pool(fine=fine, lacking=lacking)

    async def scenario():
        value = await call(await servers.get("fine"), "tool", "environment", {}, timeout=60)
        return value["structured"], await fails(servers.get("lacking"))

    seen, error = run(scenario())
    assert seen["SEEN"] == "value"
    assert error.kind == "server"
    assert "LACKING" in error.message


def test_closing_ends_openings_and_sessions_and_refuses_more(run, pool, script, fails):
    servers = pool(a=script("jobs"), b=script("silent"))

    async def scenario():
        session = await servers.get("a")
        opening = asyncio.create_task(fails(servers.get("b")))
        await asyncio.sleep(0)
        await servers.close()
        assert not session.alive
        opening.cancel()
        return await fails(servers.get("a"))

    assert run(scenario()).kind == "connection"
