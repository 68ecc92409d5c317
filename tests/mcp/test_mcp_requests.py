"""A server that asks its client for something fails the operation that made it ask, no other."""

from __future__ import annotations

import time

import pytest

from omx_tasks.mcp.calls import call
from omx_tasks.mcp.session import Session

METHODS = ["sampling/createMessage", "elicitation/create", "roots/list"]


@pytest.fixture
def session(run, agent, script):
    session = run(Session.open(script("asks"), deadline=60, agent=agent))
    yield session
    run(session.close())


@pytest.mark.parametrize("method", METHODS)
def test_the_only_call_in_flight_fails_and_says_what_was_asked(run, session, fails, method):
    error = run(fails(call(session, "tool", "ask", {"method": method}, timeout=60)))
    assert error.kind == "client_request"
    assert method in error.message
    assert "'asks'" in error.message
    assert session.alive


@pytest.mark.parametrize("method", METHODS[:2])
def test_it_fails_at_once_even_if_the_server_never_ends_the_call(run, session, fails, method):
    began = time.monotonic()
    error = run(fails(call(session, "tool", "ask_and_hang", {"method": method}, timeout=60)))
    assert error.kind == "client_request"
    assert time.monotonic() - began < 30


def test_of_several_calls_only_the_one_that_fails_is_blamed(run, session, fails, begin):
    async def scenario():
        innocent = await begin(session, call(session, "tool", "hold", {}, timeout=60))
        error = await fails(
            call(session, "tool", "ask", {"method": "elicitation/create"}, timeout=60)
        )
        assert not innocent.done()
        await call(session, "tool", "release", {}, timeout=60)
        return error, await innocent

    error, value = run(scenario())
    assert error.kind == "client_request"
    assert value["text"] == "released"


def test_roots_are_not_guessed_so_an_unrelated_call_goes_on(run, agent, script, begin):
    async def scenario():
        session = await Session.open(script("asks", "early"), deadline=60, agent=agent)
        work = await begin(session, call(session, "tool", "hold", {}, timeout=60))
        await call(session, "tool", "release", {}, timeout=60)
        value = await work
        await session.close()
        return value

    assert run(scenario())["text"] == "released"


@pytest.mark.parametrize("tool", ["delete", "elicit"])
def test_the_newest_protocol_tells_which_call_asked(run, agent, script, fails, begin, tool):
    async def scenario():
        session = await Session.open(script("modern"), deadline=60, agent=agent)
        other = await begin(session, call(session, "tool", "hold", {}, timeout=60))
        error = await fails(call(session, "tool", tool, {}, timeout=60))
        assert not other.done()
        other.cancel()
        value = await call(session, "tool", "add", {"a": 1, "b": 2}, timeout=60)
        await session.close()
        return error, value

    error, value = run(scenario())
    assert error.kind == "client_request"
    assert "elicitation/create" in error.message
    assert value["text"] == "3"
