"""One process of a server for all agents of a machine: each gets its own answers, and none is hurt by another's end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from omx_tasks.mcp import config, keeper, rendezvous
from omx_tasks.mcp.calls import Progress, call
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.settings import Share

SERVERS = Path(__file__).parent / "servers"
CLIENT = """
import asyncio, os, sys
from pathlib import Path
from omx_tasks.mcp import config
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.settings import Share

async def main():
    servers = config.load(Path(sys.argv[1])).servers
    pool = SessionPool(servers, deadline=60, agent="doomed", environ=os.environ, share=Share.AUTO)
    session = await pool.get("jobs")
    waiting = asyncio.create_task(call(session, "tool", "hold", {}, timeout=60))
    await call(session, "tool", "say", {"words": ["on its way"]}, timeout=60)
    print(session.pid, flush=True)
    await waiting

asyncio.run(main())
"""


@pytest.fixture
def meeting() -> Iterator[Path]:
    """A folder for sockets, whose path is short; at its end nobody is left of those who met there, and no lock."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    holders = _holders(folder)
    _, alive = psutil.wait_procs(holders, timeout=15)
    for process in alive:
        process.kill()
    locks = list(folder.rglob("*.lock"))
    shutil.rmtree(folder)
    assert not alive
    assert not locks


def _holders(folder: Path) -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline"])
    return [one for one in found if any(str(folder) in word for word in one.info["cmdline"] or ())]


@pytest.fixture
def servers(tmp_path: Path):
    """Write a server file and read it."""

    def write(**omx: Any) -> config.ServerFile:
        path = tmp_path / "mcp.json"
        jobs = {
            "command": sys.executable,
            "args": [str(SERVERS / "jobs.py")],
            "env": {"TOKEN": "${SHARED_TOKEN:-none}"},
            "omx": omx,
        }
        path.write_text(json.dumps({"mcpServers": {"jobs": jobs}}))
        return config.load(path)

    return write


@pytest.fixture
def agents(run, agent, meeting, monkeypatch):
    """Make the pools of some agents."""
    monkeypatch.setattr(keeper, "PULSE", 0.5)
    made: list[SessionPool] = []

    async def make(
        file: config.ServerFile, count: int, share: Share = Share.DECLARED, **keys: Any
    ) -> list[SessionPool]:
        environ = {**os.environ, "XDG_RUNTIME_DIR": str(meeting), **keys.pop("environ", {})}
        pools = [
            SessionPool(
                file.servers, deadline=60, agent=agent, environ=environ, share=share, **keys
            )
            for _ in range(count)
        ]
        made.extend(pools)
        assert all(
            not any(one.values()) for one in await asyncio.gather(*(p.warm() for p in pools))
        )
        return pools

    yield make
    for pool in made:
        run(pool.close())


async def tool(pool: SessionPool, name: str, timeout: float = 10, **arguments: Any) -> str:
    value = await call(await pool.get("jobs"), "tool", name, arguments, timeout=timeout)
    return value["text"]


async def others(pools: list[SessionPool], before: int | None) -> set[int | None]:
    """Wait until all have a session to another process, and return these."""
    async with asyncio.timeout(20):
        while True:
            sessions = [pool.live("jobs") for pool in pools]
            pids = {one.pid for one in sessions if one is not None}
            if all(sessions) and before not in pids:
                return pids
            await asyncio.sleep(0.02)


def test_agents_share_a_process_and_each_gets_its_own_answers_and_progress(run, agents, servers):
    async def scenario():
        pools = await agents(servers(shared=True), 3)
        said = await asyncio.gather(
            *(
                tool(pool, "say", words=[f"{at}.{n}"])
                for at, pool in enumerate(pools)
                for n in range(50)
            )
        )
        told: list[list[tuple[float, str | None]]] = [[] for _ in pools]
        sessions = [await pool.get("jobs") for pool in pools]
        await asyncio.gather(
            *(
                call(session, "tool", "progress", {}, timeout=60, on_progress=_into(mine))
                for session, mine in zip(sessions, told, strict=True)
            )
        )
        about = [pool.sessions()[0] for pool in pools]
        return said, told, about

    said, told, about = run(scenario())
    assert said == [f"{at}.{n}" for at in range(3) for n in range(50)]
    assert told == [[(1, "step 1"), (2, "step 2")]] * 3
    assert len({one["pid"] for one in about}) == 1
    assert all(one["shared"] for one in about)


def _into(told: list[tuple[float, str | None]]) -> Progress:
    return lambda at, _total, words: told.append((at, words))


def test_only_the_call_that_ran_out_of_time_is_cancelled(run, agents, servers, fails, begin):
    async def scenario():
        first, second = await agents(servers(shared=True), 2)
        session = await second.get("jobs")
        waiting = await begin(session, call(session, "tool", "hold", {}, timeout=60))
        await tool(second, "say", words=["the held call was read"])
        error = await fails(tool(first, "hold", timeout=0.2))
        cancelled = json.loads(await tool(first, "list_cancelled"))
        await tool(first, "release")
        return error.kind, len(cancelled), (await waiting)["text"]

    assert run(scenario()) == ("timeout", 1, "released")


def test_what_a_killed_agent_asked_for_is_cancelled_and_the_others_go_on(
    run, agents, servers, meeting
):
    file = servers(shared=True)
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(meeting)}
    command = [sys.executable, "-c", CLIENT, str(file.path)]

    async def scenario():
        (pool,) = await agents(file, 1)
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as doomed:
            theirs = int(await asyncio.to_thread(doomed.stdout.readline))
            doomed.kill()
        async with asyncio.timeout(10):
            while not json.loads(cancelled := await tool(pool, "list_cancelled")):
                await asyncio.sleep(0.02)
        return theirs == pool.live("jobs").pid, len(json.loads(cancelled))

    assert run(scenario()) == (True, 1)


def test_a_shared_server_that_died_says_to_all_what_an_own_one_says_and_comes_back_once(
    run, agents, servers, fails, begin
):
    async def scenario():
        pools = await agents(servers(shared=True), 2)
        before = pools[0].live("jobs")
        waiting = await begin(before, call(before, "tool", "hold", {}, timeout=60))
        deadly = await fails(tool(pools[1], "die"))
        lost = await fails(_done(waiting))
        return deadly, lost, await others(pools, before.pid)

    deadly, lost, pids = run(scenario())
    for error in (deadly, lost):
        assert error.kind == "connection"
        assert "exited with status 7" in error.message
        assert "the disk is on fire" in error.message
    assert len(pids) == 1


async def _done(task: asyncio.Task[Any]) -> Any:
    return await task


def test_agents_go_on_when_the_holder_of_their_servers_was_killed(run, agents, servers, meeting):
    async def scenario():
        pools = await agents(servers(shared=True), 3)
        server = psutil.Process(pools[0].live("jobs").pid)
        (holder,) = _holders(meeting)
        holder.kill()
        pids = await others(pools, server.pid)
        said = [await tool(pool, "say", words=["here"]) for pool in pools]
        gone, _ = await asyncio.to_thread(psutil.wait_procs, [server], 5)
        return said, len(pids), len(gone)

    assert run(scenario()) == (["here"] * 3, 1, 1)


def test_a_hung_server_is_ended_once_for_all(run, agents, servers, fails):
    async def scenario():
        pools = await agents(servers(shared=True), 3)
        before = psutil.Process(pools[0].live("jobs").pid)
        for pool in pools:
            error = await fails(tool(pool, "freeze", timeout=0.2))
            pool.timed_out("jobs", error)
        pids = await others(pools, before.pid)
        said = [await tool(pool, "say", words=["here"]) for pool in pools]
        gone, _ = await asyncio.to_thread(psutil.wait_procs, [before], 5)
        return len(pids), said, len(gone)

    assert run(scenario()) == (1, ["here"] * 3, 1)


def test_a_message_that_is_too_large_fails_one_call(run, agents, servers, fails):
    async def scenario():
        first, second = await agents(servers(shared=True), 2, max_message=100_000)
        before = first.live("jobs").pid
        asked = await fails(tool(first, "say", words=["x" * 60_000] * 2))
        answered = await fails(tool(first, "say", words=["x"] * 5000))
        small = await tool(second, "say", words=["small"])
        return asked, answered, small, first.live("jobs").pid == before

    asked, answered, *rest = run(scenario())
    assert (asked.kind, answered.kind, *rest) == ("size", "size", "small", True)
    assert "a request of 120," in asked.message
    assert "100,000 are allowed" in answered.message


@pytest.mark.parametrize(
    ("share", "read_only", "processes"),
    [(Share.AUTO, True, 1), (Share.AUTO, False, 3), (Share.DECLARED, True, 3)],
)
def test_undeclared_servers_are_shared_where_all_their_tools_only_read(
    run, agents, servers, share, read_only, processes
):
    names = "die kill freeze hold release list_cancelled progress invalid shapeless say fail error"
    hints = {"read_only": [*names.split(), "environment"]} if read_only else {}

    async def scenario():
        pools = await agents(servers(**hints), 3, share)
        return len({pool.live("jobs").pid for pool in pools})

    assert run(scenario()) == processes


def test_an_agent_that_would_launch_something_else_has_its_own(run, agents, servers):
    file = servers(shared=True)

    async def scenario():
        (first,) = await agents(file, 1)
        (second,) = await agents(file, 1, environ={"SHARED_TOKEN": "another"})
        told = [json.loads(await tool(pool, "environment"))["TOKEN"] for pool in (first, second)]
        return told, [pool.sessions()[0]["shared"] for pool in (first, second)]

    assert run(scenario()) == (["none", "another"], [True, False])


def test_nothing_is_shared_where_others_may_look(run, agents, servers, meeting):
    (meeting / "omx").mkdir(mode=0o777)
    (meeting / "omx").chmod(0o755)

    async def scenario():
        pools = await agents(servers(shared=True), 2)
        return len({pool.live("jobs").pid for pool in pools})

    assert run(scenario()) == 2


def test_the_socket_is_for_its_user_alone(run, agents, servers, meeting):
    async def scenario():
        await agents(servers(shared=True), 1)
        (socket,) = (meeting / "omx").glob("*.sock")
        return oct(socket.stat().st_mode & 0o777), oct(socket.parent.stat().st_mode & 0o777)

    assert run(scenario()) == ("0o600", "0o700")


def test_a_socket_has_a_short_path_wherever_temporary_files_are(monkeypatch, tmp_path):
    far = tmp_path / ("long" * 25)
    far.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    for environ in ({}, {"XDG_RUNTIME_DIR": str(far)}):
        place = rendezvous.socket_of(Path("servers.json"), environ)
        assert len(os.fsencode(place)) <= rendezvous.LONGEST
        assert place.parent.stat().st_mode & 0o077 == 0
