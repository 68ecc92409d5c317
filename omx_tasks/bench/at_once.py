"""Many calls that wait at the same time: how long, how much processor time, how much memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

from omx_tasks.api import submit_graph
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.fleet import Agent
from omx_tasks.bench.place import DEADLINE, Place, Row, calls_of, independent
from omx_tasks.bench.usage import memory, parts_of


def measure(place: Place, calls: int, seconds: float) -> Iterator[Row]:
    """Run as many calls as there are slots, on one agent and on two."""
    half = -(-calls // 2)
    yield from _rows(place, calls, seconds, [Agent("whole", "whole", calls)])
    yield from _rows(place, calls, seconds, [Agent(f"half{n}", "half", half) for n in (1, 2)])


def _rows(place: Place, calls: int, seconds: float, agents: list[Agent]) -> Iterator[Row]:
    server = agents[0].server
    title = f"{calls} calls of {seconds:g} s, {len(agents)} x {agents[0].slots} slots"
    place.say(title)
    with place.agents(*agents) as pids:
        place.run(independent(server, calls))
        used = place.watch(pids)
        run = submit_graph(place.store, independent(server, calls, seconds), {})
        time.sleep(seconds / 2)  # in the middle, all of them wait
        own = memory(parts_of(pids, place.cluster))
        view = run.wait(DEADLINE)
        processor = used()
    yield Row(title, view.seconds, "s")
    yield Row("  errors", sum(one.state != "succeeded" for one in calls_of(view)), "", Goal("≤", 0))
    for part in ("agent", "server", "redis"):
        yield Row(f"  processor time, {part}", processor[part], "s")
        yield Row(f"  memory, {part}", own[part] / 2**20, "MiB")
