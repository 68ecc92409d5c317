"""Many calls at once, spread over one agent or over several, which have as many slots together as there are calls."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from omx_tasks.api import submit_graph
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.forks import environ, forked
from omx_tasks.bench.place import DEADLINE, Place, Row, calls_of, independent


@dataclass
class _Spread:
    """What came out of some rounds: seconds of each, seconds from the submission to the end of each call, errors."""

    seconds: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    errors: int = 0


def measure(
    place: Place, calls: int, lengths: Sequence[float], fleets: Sequence[int], rounds: int
) -> Iterator[Row]:
    """Make so many calls of each length with so many agents."""
    found = {agents: _with(place, calls, lengths, agents, rounds) for agents in fleets}
    for length in lengths:
        title = f"{calls} calls of {1000 * length:g} ms"
        told = [(_agents(count), found[count][length]) for count in fleets]
        for agents, one in told:
            yield Row(f"{title}, {agents}", statistics.median(one.seconds), "s")
        for agents, one in told:
            last = statistics.quantiles(one.late, n=100, method="inclusive")[98]
            yield Row(f"  p99 until the end of one, {agents}", last, "s")
        for agents, one in told:
            yield Row(f"  errors, {agents}", one.errors, "", Goal("≤", 0))


def _with(
    place: Place, calls: int, lengths: Sequence[float], agents: int, rounds: int
) -> dict[float, _Spread]:
    place.say(f"{calls} calls at once, {_agents(agents)}")
    server = f"sleeper_of_{agents}"
    given = environ(place, server, OMX_SLOTS=str(-(-calls // agents)))
    found = {length: _Spread() for length in lengths}
    with forked(place, agents, given):
        place.run(independent(server, calls))
        for _ in range(rounds):
            for length, spread in found.items():
                _round(place, server, calls, length, spread)
    return found


def _round(place: Place, server: str, calls: int, length: float, spread: _Spread) -> None:
    view = submit_graph(place.store, independent(server, calls, length), {}).wait(DEADLINE)
    spread.seconds.append(view.seconds)
    for call in calls_of(view):
        spread.errors += call.state != "succeeded"
        if call.finished is not None:
            spread.late.append(call.finished - view.created)


def _agents(count: int) -> str:
    return "1 agent" if count == 1 else f"{count} agents"
