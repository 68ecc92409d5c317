"""Sessions: opened within a deadline, explained when they fail, ended within a bound."""

from __future__ import annotations

import asyncio
import json
import os
import time

import psutil
import pytest

from omx_tasks.mcp import catalogue
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.session import Session, settle

#: Seconds by which a busy machine may be late.
BUSY = 10.0


@pytest.fixture
def opened(agent):
    """Open a session with a generous deadline."""

    def opened(config, deadline=60.0, **keys):
        return Session.open(config, deadline=deadline, agent=agent, **keys)

    return opened


def test_a_real_server_is_described(run, opened, module):
    async def scenario():
        session = await opened(module("mcp_server_time"))
        described = catalogue.describe(session)
        await session.close()
        return session, described

    session, described = run(scenario())
    assert {tool["name"] for tool in described["tools"]} == {"get_current_time", "convert_time"}
    assert described["tools"][0]["annotations"]["readOnlyHint"] is True
    assert described["server"] == "mcp-time"
    assert described["protocol"] == "2026-07-28"
    assert 0 < described["cold_seconds"] == session.cold_seconds < 60
    assert json.loads(json.dumps(described)) == described
    assert not session.alive


def test_all_pages_of_a_list_are_read_and_older_servers_negotiated(run, opened, script):
    async def scenario():
        session = await opened(script("jobs"))
        described = session.description
        await session.close()
        return described

    described = run(scenario())
    assert len(described["tools"]) == 13
    assert described["protocol"] == "2025-11-25"
    assert described["server"] == "wire"


def test_a_silent_server_fails_at_the_deadline_with_its_last_words(run, opened, script, fails):
    async def scenario():
        began = time.monotonic()
        error = await fails(opened(script("silent"), deadline=2.0))
        return error, time.monotonic() - began

    error, seconds = run(scenario())
    assert error.kind == "server"
    assert "within 2 s" in error.message
    assert "thinking about it" in error.message
    assert seconds < 2 + BUSY


def test_a_server_that_ignores_everything_is_killed_in_the_background(run, opened, script, fails):
    async def scenario():
        began = time.monotonic()
        await fails(opened(script("silent", "stubborn"), deadline=0.5))
        failed = time.monotonic() - began
        await settle()
        return failed, time.monotonic() - began

    failed, ended = run(scenario())
    assert failed < 0.5 + BUSY
    assert ended < 0.5 + 5 + BUSY


def test_a_server_that_exits_at_once_says_status_and_reason_but_no_secret(
    run, opened, script, fails
):
    config = script("exits", env={"TOKEN": "a-very-secret-token"}, called="weather")
    error = run(fails(opened(config)))
    assert error.kind == "server"
    assert "server 'weather'" in error.message
    assert "exited with status 3" in error.message
    assert "reason 99" in error.message
    assert "reason 79" not in error.message
    assert "bad token ***" in error.message
    assert str(config.path) in error.message


def test_garbage_on_standard_output_is_named(run, opened, script, fails):
    error = run(fails(opened(script("garbage"))))
    assert error.kind == "server"
    assert "Welcome to the garbage server!" in error.message
    assert "exited with status 0" in error.message


def test_a_banner_before_the_first_message_does_no_harm(run, opened, script):
    async def scenario():
        session = await opened(script("garbage", "serve"))
        value = await call(session, "tool", "say", {}, timeout=60)
        await session.close()
        return value

    assert run(scenario())["text"] == "hello"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"command": "no-such-command-here"}, "no such command"),
        ({"command": "./not-executable"}, "Permission denied"),
        ({"command": "true", "cwd": "/no/such/folder"}, "'/no/such/folder' is no folder"),
    ],
)
def test_a_command_that_cannot_be_started_is_named(run, opened, tmp_path, fails, keys, expected):
    (tmp_path / "not-executable").touch(0o600)
    config = ServerConfig("s", tmp_path / "mcp.json", "stdio", **{"cwd": str(tmp_path)} | keys)
    error = run(fails(opened(config.resolved({}))))
    assert error.kind == "server"
    assert expected in error.message
    assert repr(keys["command"]) in error.message


def test_a_megabyte_of_stderr_neither_blocks_nor_piles_up(run, opened, script, tmp_path):
    async def scenario():
        session = await opened(script("noisy"), log_dir=tmp_path / "logs")
        value = await call(session, "tool", "say", {}, timeout=60)
        await session.close()
        return value, session.last_words()

    value, _ = run(scenario())
    assert value["text"] == "hello"
    log = (tmp_path / "logs" / "mcp-noisy.log").read_bytes()
    assert log.startswith(b"debug 0 ")
    assert len(log) > 1_000_000


def test_the_child_gets_the_safe_environment_and_the_agents_name(
    run, opened, script, agent, monkeypatch
):
    monkeypatch.setenv("PRIVATE_TO_THE_AGENT", "1")

    async def scenario():
        session = await opened(script("jobs", env={"EXTRA": "2"}))
        value = await call(session, "tool", "environment", {}, timeout=60)
        await session.close()
        return value["structured"]

    seen = run(scenario())
    assert seen["OMX_AGENT"] == agent
    assert seen["EXTRA"] == "2"
    assert seen["PATH"] == os.environ["PATH"]
    assert "PRIVATE_TO_THE_AGENT" not in seen


@pytest.mark.parametrize(
    ("tool", "expected"), [("die", "exited with status 7"), ("kill", "killed by SIGKILL")]
)
def test_a_server_that_dies_fails_all_calls_in_flight_and_later_ones(
    run, opened, script, fails, tool, expected
):
    async def scenario():
        session = await opened(script("jobs"))
        waiting = [call(session, "tool", "hold", {}, timeout=60) for _ in range(3)]
        began = time.monotonic()
        errors = await asyncio.gather(
            *(fails(work) for work in (*waiting, call(session, "tool", tool, {}, timeout=60)))
        )
        seconds = time.monotonic() - began
        errors.append(await fails(call(session, "tool", "hold", {}, timeout=60)))
        await session.close()
        return errors, seconds, session.alive

    errors, seconds, alive = run(scenario())
    assert {error.kind for error in errors} == {"connection"}
    assert all(expected in error.message for error in errors)
    assert ("the disk is on fire" in errors[0].message) == (tool == "die")
    assert seconds < BUSY
    assert not alive


def test_a_hung_server_is_closed_within_five_seconds(run, opened, script, fails):
    async def scenario():
        session = await opened(script("jobs"))
        error = await fails(call(session, "tool", "freeze", {}, timeout=0.3))
        began = time.monotonic()
        await session.close()
        await session.close()
        return error, time.monotonic() - began

    error, seconds = run(scenario())
    assert error.kind == "timeout"
    assert seconds < 5 + BUSY


def test_closing_fails_the_calls_in_flight(run, opened, script, fails, begin):
    async def scenario():
        session = await opened(script("jobs"))
        waiting = await begin(session, fails(call(session, "tool", "hold", {}, timeout=60)))
        # An answer to a later call proves that the first one has reached the server.
        await call(session, "tool", "say", {"words": []}, timeout=60)
        await session.close()
        return await waiting

    error = run(scenario())
    assert error.kind == "connection"
    assert "closed by this agent" in error.message


def test_children_of_a_server_do_not_survive_it(run, opened, script, fails):
    async def scenario():
        session = await opened(script("parent"))
        (child,) = psutil.Process(session.pid).children()
        error = await fails(call(session, "tool", "leave", {}, timeout=60))
        await session.close()
        return child, error

    child, error = run(scenario())
    assert error.kind == "connection"
    assert psutil.wait_procs([child], timeout=60)[1] == []


def test_a_cancelled_opening_leaves_nothing(run, opened, script):
    async def scenario():
        task = asyncio.create_task(opened(script("silent")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(task, 0.3)

    run(scenario())


def test_a_stopped_loop_takes_its_servers_along(loop, opened, script):
    session = loop.run(opened(script("jobs")), 20)
    pid = session.pid
    loop.stop()
    assert not psutil.pid_exists(pid)


def test_a_probe_describes_and_ends_a_server(run, module):
    described = run(catalogue.probe(module("omx_tasks.examples.notes"), 20))
    assert described["server"] == "notes"
    assert [prompt["name"] for prompt in described["prompts"]] == ["brief"]
