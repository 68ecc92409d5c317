"""How long operations took, kept for the plans of later runs: decayed averages, by graph and id, and by call.

Agents `learn` once a second what they gathered; whoever plans a graph reads all that concerns it in one request.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from omx_tasks.graph.durations import Durations, call_name
from omx_tasks.graph.model import Graph
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script

#: The part of an average that one new sample takes: what happened ten samples ago counts for a fortieth.
WEIGHT = 0.3
#: Seconds for which the averages of a graph that is not run any more are kept.
KEEP = 30 * 86_400
#: Operations of one graph, and different calls, of which averages are kept.
MOST = 100_000
_BATCH = 1000


class Measured(NamedTuple):
    """One call that succeeded: of which operation of which graph, what was called, and how long it took."""

    graph: str
    operation: str
    call: str
    seconds: float


def learn(samples: Iterable[Measured]) -> list[Call]:
    """Make the calls that fold samples into the averages: one script for up to a thousand averages."""
    gathered: dict[tuple[str, str], list[float]] = defaultdict(list)
    own, general = cache(keys.operation_durations), keys.call_durations()
    for graph, operation, call, seconds in samples:
        gathered[own(graph), operation].append(seconds)
        gathered[general, call].append(seconds)
    averages = list(gathered.items())
    return [_learn(averages[first : first + _BATCH]) for first in range(0, len(averages), _BATCH)]


class Opening(NamedTuple):
    """How many seconds it takes to open a server, and by how many that is off, both on average."""

    seconds: float
    off: float = 0.0


def learn_openings(samples: Sequence[tuple[str, float]]) -> list[Call]:
    """Make the calls that fold in how long it took to open sessions: server, seconds."""
    calls = []
    for first in range(0, len(samples), _BATCH):
        words = [word for sample in samples[first : first + _BATCH] for word in sample]
        names = (keys.durations_report(uuid.uuid4().hex), keys.opening_durations())
        calls.append(Call(script("opened_1"), names, (WEIGHT, KEEP, MOST, *words)))
    return calls


def openings(answer: Mapping[bytes, bytes]) -> dict[str, Opening]:
    """Read the hash of opening durations."""
    return {server.decode(): Opening(*map(float, said.split())) for server, said in answer.items()}


def _learn(averages: list[tuple[tuple[str, str], list[float]]]) -> Call:
    hashes: dict[str, int] = {}
    arguments: list[Any] = [WEIGHT, KEEP, MOST]
    for (key, name), seconds in averages:
        number = hashes.setdefault(key, len(hashes) + 1)
        arguments += (number, name, len(seconds), sum(seconds) / len(seconds))
    report = keys.durations_report(uuid.uuid4().hex)
    return Call(script("learn_1"), (report, *hashes), arguments)


def read(store: Store, graph: Graph) -> Durations:
    """Return what was measured of a graph's operations and of the calls that it makes."""
    calls = sorted({call_name(op.server, op.kind, op.target) for op in graph.operations})
    own, general = keys.operation_durations(graph.name), keys.call_durations()
    requests = [(own, ("HGETALL", own)), (general, ("HMGET", general, *calls))]
    by_id, by_call = store.commands(requests)
    return Durations(
        {name.decode(): float(seconds) for name, seconds in by_id.items()},
        {
            name: float(seconds)
            for name, seconds in zip(calls, by_call, strict=True)
            if seconds is not None
        },
    )
