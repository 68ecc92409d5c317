"""Calls: values as the graph sees them, and every failure with its kind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

import pytest

from omx_tasks.mcp import values
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.session import Session


@pytest.fixture
def session(run, agent, script):
    session = run(Session.open(script("jobs"), deadline=60, agent=agent))
    yield session
    run(session.close())


@pytest.fixture
def notes(run, agent, module):
    session = run(Session.open(module("omx_tasks.examples.notes"), deadline=60, agent=agent))
    yield session
    run(session.close())


def test_text_contents_are_joined_and_kept_raw(run, session):
    value = run(call(session, "tool", "say", {"words": ["one", "two"]}, timeout=60))
    assert value == {
        "text": "one\ntwo",
        "structured": None,
        "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1]}', {"a": [1]}),
        ("12", 12),
        ("plain", None),
        ("NaN", None),
        ("1e999", None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_text_is_read_as_json_only_where_it_is_json(text, expected):
    assert values.parsed(text) == expected


def test_structured_content_wins_over_the_text(run, notes):
    value = run(call(notes, "tool", "read_note", {"name": "beans"}, timeout=60))
    assert value["structured"]["name"] == "beans.md"


def test_a_resource_gives_the_text_of_its_contents(run, notes):
    value = run(call(notes, "resource", "notes://guide", {}, timeout=60))
    assert value["text"].startswith("# How to write a brief")
    assert value["content"][0]["uri"] == "notes://guide"


def test_a_resource_template_is_filled_from_the_arguments(run, notes):
    value = run(call(notes, "resource", "notes://{name}", {"name": "water"}, timeout=60))
    assert value["text"].startswith("# Water")


def test_arguments_of_a_plain_resource_are_refused(run, notes, fails):
    error = run(fails(call(notes, "resource", "notes://guide", {"a": 1}, timeout=60)))
    assert error.kind == "arguments"


def test_a_resource_that_is_not_there_is_a_protocol_error(run, notes, fails):
    error = run(fails(call(notes, "resource", "notes://nothing", {}, timeout=60)))
    assert error.kind == "protocol"
    assert "-32602" in error.message


def test_prompt_arguments_become_strings(run, notes):
    value = run(call(notes, "prompt", "brief", {"topic": ["peas", 2]}, timeout=60))
    assert '["peas", 2]' in value["text"]
    assert value["content"][0]["role"] == "user"


@pytest.mark.parametrize(
    ("kind", "target", "near"),
    [
        ("tool", "red_note", "read_note"),
        ("prompt", "brif", "brief"),
    ],
)
def test_an_unknown_target_is_a_protocol_error_with_a_suggestion(
    run, notes, fails, kind, target, near
):
    error = run(fails(call(notes, kind, target, {}, timeout=60)))
    assert error.kind == "protocol"
    assert f"Did you mean {near!r}?" in error.message


def test_a_result_marked_as_error_is_a_tool_error_without_secrets(run, agent, script, fails):
    async def scenario():
        config = script("jobs", env={"TOKEN": "a-very-secret-token"})
        session = await Session.open(config, deadline=60, agent=agent)
        error = await fails(call(session, "tool", "fail", {}, timeout=60))
        await session.close()
        return error

    error = run(scenario())
    assert error.kind == "tool"
    assert "no luck with ***" in error.message


def test_a_server_error_that_uses_the_closed_code_does_not_end_the_session(run, session, fails):
    error = run(fails(call(session, "tool", "error", {}, timeout=60)))
    assert error.kind == "protocol"
    assert "-32000" in error.message
    assert session.alive


@pytest.mark.parametrize("tool", ["invalid", "shapeless"])
def test_an_invalid_answer_is_a_protocol_error(run, session, fails, tool):
    error = run(fails(call(session, "tool", tool, {}, timeout=60)))
    assert error.kind == "protocol"
    assert session.alive


def test_a_timeout_cancels_at_the_server_and_the_session_stays_usable(run, session, fails):
    async def scenario():
        error = await fails(call(session, "tool", "hold", {}, timeout=0.1))
        seen = await call(session, "tool", "list_cancelled", {}, timeout=60)
        return error, seen

    error, seen = run(scenario())
    assert error.kind == "timeout"
    assert "0.1 s" in error.message
    assert len(seen["structured"]) == 1


def test_a_cancelled_caller_cancels_at_the_server(run, session, begin):
    async def scenario():
        task = await begin(session, call(session, "tool", "hold", {}, timeout=60))
        await call(session, "tool", "say", {"words": []}, timeout=60)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return await call(session, "tool", "list_cancelled", {}, timeout=60)

    assert len(run(scenario())["structured"]) == 1


def test_progress_is_told_to_plain_functions_and_coroutines(run, session):
    async def scenario():
        plain, awaited = [], []
        done = asyncio.Event()

        async def note(progress, total, message):
            awaited.append((progress, total, message))
            if len(awaited) == 2:
                done.set()

        await call(
            session,
            "tool",
            "progress",
            {},
            timeout=60,
            on_progress=lambda *step: plain.append(step),
        )
        await call(session, "tool", "progress", {}, timeout=60, on_progress=note)
        await done.wait()
        return plain, awaited

    plain, awaited = run(scenario())
    assert sorted(plain) == sorted(awaited) == [(1.0, 2.0, "step 1"), (2.0, 2.0, "step 2")]


def test_many_calls_share_one_session(run, session, begin):
    async def scenario():
        waiting = [
            await begin(session, call(session, "tool", "hold", {}, timeout=60)) for _ in range(50)
        ]
        await call(session, "tool", "say", {"words": []}, timeout=60)
        assert len(session.flights) == 50
        await call(session, "tool", "release", {}, timeout=60)
        return [value["text"] for value in await asyncio.gather(*waiting)]

    assert run(scenario()) == ["released"] * 50
    assert len(session.flights) == 0


def test_the_git_server_answers(run, agent, module, tmp_path):
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)

    async def scenario():
        config = module("mcp_server_git", "--repository", str(tmp_path))
        session = await Session.open(config, deadline=60, agent=agent)
        value = await call(session, "tool", "git_status", {"repo_path": str(tmp_path)}, timeout=60)
        await session.close()
        return value

    assert "main" in run(scenario())["text"]


def test_calls_that_meet_a_killed_server_say_that_the_connection_is_lost(run, agent, script, fails):
    """Also those that cannot be written any more while its output is not known to have ended."""

    async def scenario() -> set[str]:
        kinds = set()
        for _ in range(5):
            session = await Session.open(script("jobs"), deadline=60, agent=agent)
            assert session.pid is not None
            os.kill(session.pid, signal.SIGKILL)
            calls = []
            while session.alive and len(calls) < 2000:
                calls.append(
                    asyncio.ensure_future(fails(call(session, "tool", "fail", {}, timeout=60)))
                )
                await asyncio.sleep(0)
            kinds |= {(await error).kind for error in calls}
            await session.close()
        return kinds

    assert run(scenario()) <= {"connection", "tool"}
