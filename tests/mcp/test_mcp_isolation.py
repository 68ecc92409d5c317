"""What a server does wrong harms the call that it does it to, and nobody else.

On one session with calls of other operations under way:

===========================  ===============================  ==================================  ==================
the server …                 this operation                   the others on this session          memory
===========================  ===============================  ==================================  ==================
answers with 50 MB           fails, ``size``, at once         are answered                        the limit
writes 100 MB on one line    is answered (if it is)           are answered                        the limit
tells progress 100,000x      is answered                      are answered, progress is thinned   some messages
answers twice                has the first                    are answered                        nothing
answers after the timeout    fails or unknown, ``timeout``    are answered                        nothing
writes garbage               is answered                      are answered                        200 bytes
closes its output            lost, ``connection``             lost; the server is started anew    nothing
does not read                fails or unknown, ``timeout``    as this one; then started anew      the pipe, 64 KiB
asks roots, ping, …          is answered (roots: it fails)    are answered                        nothing
answers under a wrong id     fails or unknown, ``timeout``    are answered                        nothing
===========================  ===============================  ==================================  ==================

*Lost* and *unknown*: see `omx_tasks.agents.caller`. A server that answers one call under the id of another one cannot
be found out.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from omx_tasks.errors import OperationError
from omx_tasks.mcp import keeper
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.mcp.session import Session

LIMIT = 2_000_000
MEBIBYTE = 1 << 20


class Peak:
    """The most memory that this process has had since."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._read("VmRSS")

    @property
    def grown(self) -> float:
        """MiB more than at the beginning."""
        return (self._read("VmHWM") - self._before) / 1024

    def _read(self, name: str) -> int:
        status = Path("/proc/self/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1])


@pytest.fixture
def hostile(run, agent, script):
    """Open a session with a hostile server."""
    opened: list[Session] = []

    async def open_session() -> Session:
        session = await Session.open(script("hostile"), deadline=60, agent=agent, max_message=LIMIT)
        opened.append(session)
        return session

    yield run(open_session())
    for session in opened:
        run(session.close())


async def outcome(work: Awaitable[dict[str, Any]]) -> str:
    """Return the text of a value, or the kind of an error."""
    try:
        return str((await work)["text"])
    except OperationError as error:
        return error.kind


async def beside(
    session: Session, tool: str, arguments: dict[str, Any], timeout: float = 60, **keys: Any
) -> tuple[str, str, str]:
    """Make a call while another is under way, and one afterwards; return what became of the three."""
    sibling = asyncio.create_task(
        outcome(call(session, "tool", "wait", {"seconds": 1.0}, timeout=60))
    )
    while not len(session.flights):
        await asyncio.sleep(0)
    own = await outcome(call(session, "tool", tool, arguments, timeout=timeout, **keys))
    return own, await sibling, await outcome(call(session, "tool", "say", {}, timeout=60))


WELL = ("waited", "hi")


@pytest.mark.parametrize("tool", ["huge", "huge_backwards"])
def test_a_result_of_50_megabytes_fails_its_call_and_is_not_kept(run, hostile, tool: str):
    peak = Peak()
    assert run(beside(hostile, tool, {"megabytes": 50})) == ("size", *WELL)
    assert peak.grown < 20


def test_a_line_of_100_megabytes_without_an_end_is_passed_over(run, hostile):
    peak = Peak()
    own = run(beside(hostile, "endless", {"megabytes": 100}))
    assert own == ("was that too much?", *WELL)
    assert peak.grown < 20


def test_a_flood_of_progress_is_thinned_out_and_drowns_nobody(run, hostile):
    peak, told = Peak(), []
    own = run(
        beside(hostile, "flood", {"times": 100_000}, on_progress=lambda *step: told.append(step[0]))
    )
    assert own == ("flooded", *WELL)
    assert 100 <= len(told) < 10_000
    assert peak.grown < 20


def test_of_two_answers_the_first_counts(run, hostile):
    assert run(beside(hostile, "twice", {})) == ("first", *WELL)


def test_an_answer_after_the_timeout_is_dropped(run, hostile):
    assert run(beside(hostile, "late", {"seconds": 0.5}, 0.2)) == ("timeout", *WELL)


def test_garbage_is_passed_over(run, hostile):
    assert run(beside(hostile, "garbage", {})) == ("was that clear?", *WELL)


def test_questions_are_refused_and_the_answer_counts_if_it_comes(run, hostile):
    own, *others = run(beside(hostile, "ask", {}))
    assert own in ("asked", "client_request")
    assert tuple(others) == WELL


def test_answers_under_wrong_ids_are_nobodys(run, hostile):
    assert run(beside(hostile, "wrong", {}, 0.3)) == ("timeout", *WELL)


def test_calls_to_a_server_that_closed_its_output_end_at_once(run, hostile):
    assert run(beside(hostile, "cut", {})) == ("connection",) * 3


def test_nothing_is_piled_up_for_a_server_that_does_not_read(run, hostile):
    async def scenario() -> list[str]:
        await call(hostile, "tool", "deaf", {}, timeout=60)
        large = {"words": "w" * MEBIBYTE}
        work = [call(hostile, "tool", "say", large, timeout=1) for _ in range(40)]
        return list(await asyncio.gather(*map(outcome, work)))

    peak = Peak()
    began = time.monotonic()
    assert run(scenario()) == ["timeout"] * 40
    # The timeouts: nobody waits to tell a server that does not listen.
    assert time.monotonic() - began < 1 + 10, "and what a busy machine needs"
    assert peak.grown < 100


@pytest.mark.parametrize("tool", ["cut", "deaf"])
def test_a_server_that_cannot_be_spoken_with_any_more_is_started_anew(
    run, agent, script, monkeypatch: pytest.MonkeyPatch, tool: str
):
    monkeypatch.setattr(keeper, "PULSE", 0.5)
    servers = SessionPool({"a": script("hostile")}, deadline=60, agent=agent, environ={})

    async def scenario() -> tuple[int | None, int | None, str]:
        await servers.warm()
        first = await servers.get("a")
        for name in (tool, "say"):
            if await outcome(call(first, "tool", name, {}, timeout=0.5)) == "timeout":
                servers.timed_out("a", OperationError("timeout", "too late"))
        while (again := servers.live("a")) is None or again is first:
            await asyncio.sleep(0.01)
        return first.pid, again.pid, await outcome(call(again, "tool", "say", {}, timeout=60))

    before, after, said = run(scenario())
    run(servers.close())
    assert before != after
    assert said == "hi"
