"""What it is worth to have agents warm: the first operation on a cold one, on a warm one, and the second there.

::

    cold    start the agent's process ─► imports ─► server starts ─► first operation ─► its result
    warm         (all of that is over, but no operation was run)     first operation ─► its result
                                                                    second operation ─► its result

A warm agent is a fork that has all its sessions open and consumes. Each round has agents of its own, one at a time, so
that there is no question of who runs what. Times are those of the producer: from before it submits, and with a cold
agent from before this is started, until it has the result. What producer and cluster do for the first time is over
before the first round. Beside them stands what the server takes alone, called over a session that is open: that too is
more for a first call, of which no agent can take anything away.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from omx_tasks.agents.registry import AgentRecord
from omx_tasks.api import submit_graph
from omx_tasks.bench import fleet, forks
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.forks import GRACE
from omx_tasks.bench.place import DEADLINE, Place, Row
from omx_tasks.bench.subjects import Subject
from omx_tasks.deploy.forkserver import ForkServer
from omx_tasks.deploy.process import Process, end_all
from omx_tasks.errors import OmxError
from omx_tasks.mcp import config
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.session import Session

WAYS = ("cold, first", "warm, first", "warm, second", "server alone, first", "server alone, second")
#: By how many percent the first operation on a warm agent is to be faster than that on a cold one.
GOAL = Goal("≥", 99)


def measure(place: Place, subject: Subject, rounds: int) -> Iterator[Row]:
    """Measure one server."""
    place.say(f"first operations on {subject.name}")
    given = forks.environ(place, subject.name, subject.command)
    server = ForkServer(place.folder / "forkserver.log", given)
    times: list[tuple[float, ...]] = []
    try:
        server.start()
        _warm(place, subject, server, given, "before")
        for number in range(rounds):
            cold = _cold(place, subject, given, number)
            warm = _warm(place, subject, server, given, f"warm{number}")
            times.append((cold, *warm, *asyncio.run(_alone(subject, given))))
    finally:
        server.stop()
    yield from _rows(subject.name, times)


def _cold(place: Place, subject: Subject, environ: Mapping[str, str], number: int) -> float:
    agent = fleet.process(place.folder, fleet.node(f"cold{number}"))
    began = time.perf_counter()
    try:
        agent.start(environ)
        return _operation(place, subject, began)
    finally:
        end_all([agent], GRACE)


def _warm(
    place: Place, subject: Subject, server: ForkServer, environ: Mapping[str, str], name: str
) -> tuple[float, float]:
    node = fleet.node(name)
    agent = Process(name, [node], place.folder / f"{name}.log", server.launch)
    try:
        agent.start(environ)
        fleet.wait_until_warm(place.store, [node], [agent], forks.WARM, _consumes)
        first = _operation(place, subject, time.perf_counter())
        return first, _operation(place, subject, time.perf_counter())
    finally:
        end_all([agent], GRACE)


async def _alone(subject: Subject, environ: Mapping[str, str]) -> tuple[float, float]:
    servers = config.load(Path(environ["OMX_MCP_CONFIG"])).servers
    session = await Session.open(servers[subject.name], deadline=forks.WARM, agent="bench")
    try:
        await session.answers(DEADLINE)
        return await _call(session, subject), await _call(session, subject)
    finally:
        await session.close()


async def _call(session: Session, subject: Subject) -> float:
    began = time.perf_counter()
    await call(session, "tool", subject.tool, dict(subject.arguments), timeout=DEADLINE)
    return time.perf_counter() - began


def _consumes(agent: AgentRecord) -> bool:
    return agent.warm and agent.silence is not None


def _operation(place: Place, subject: Subject, began: float) -> float:
    view = submit_graph(place.store, subject.call(), {}, wait_for_agents=True).wait(DEADLINE)
    seconds = time.perf_counter() - began
    if not view.succeeded:
        raise OmxError(f"{subject.name}.{subject.tool} ended as {view.state}: {view.operations}")
    return seconds


def _rows(name: str, times: list[tuple[float, ...]]) -> Iterator[Row]:
    shares = {
        way: _shares(column) for way, column in zip(WAYS, zip(*times, strict=True), strict=True)
    }
    for at, share in enumerate(("p50", "p99")):
        for way in WAYS:
            yield Row(f"{name}, {way}, {share}", 1000 * shares[way][at], "ms")
        cold, first = (shares[way][at] for way in WAYS[:2])
        yield Row(f"{name}, first ones, {share}, less by", 100 * (1 - first / cold), "%", GOAL)


def _shares(values: tuple[float, ...]) -> tuple[float, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]
