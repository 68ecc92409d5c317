"""Five ways to make the same calls of one MCP server: what an operation costs beside its call.

::

    for each round, another one first:   direct ── grouped ── one at a time ── one slot ── stock      each: N calls
                                            └─ overhead of the others = (their time - its time) / N

*direct* is a plain client on one session: no broker, nothing durable. *grouped* is an agent as it is, *one at a time*
the same with ``OMX_BATCH=1``, *one slot* with ``OMX_SLOTS=1`` too: nothing is taken before the last one is settled.
*stock* is Celery with one Redis server and one session for all its threads. All but *one slot* have as many calls in
flight. A machine's speed drifts, so only what ran within one round is compared.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psutil
from celery import Celery, group

from omx_tasks.bench.figures import Goal
from omx_tasks.bench.fleet import Agent
from omx_tasks.bench.place import DEADLINE, SLOTS, Place, Row, independent
from omx_tasks.bench.sides import stock_side
from omx_tasks.bench.worker import Worker

DIRECT, GROUPED, SINGLE, SLOT, STOCK = "direct", "grouped", "one at a time", "one slot", "stock"
GOAL = Goal("≤", 0.3)
#: The task of `omx_tasks.bench.stock`, by name.
CALL = "bench.call"


@dataclass(frozen=True)
class Way:
    """Seconds for all calls, and processor seconds of each part for one."""

    seconds: float
    used: dict[str, float]


Round = Mapping[str, Way]
Make = Callable[[int], Way]


@dataclass(frozen=True)
class Compared:
    """What the rounds gave."""

    calls: int
    rounds: Sequence[Round]

    def median(self, name: str) -> Way:
        """Return the medians of one way."""
        ways = [one[name] for one in self.rounds]
        used = {part: statistics.median(way.used[part] for way in ways) for part in ways[0].used}
        return Way(statistics.median(way.seconds for way in ways), used)

    def overhead(self, name: str) -> float:
        """Return the seconds that a call takes longer than directly: the median of the rounds."""
        return statistics.median(self._over(one, name) for one in self.rounds)

    def rows(self) -> list[Row]:
        """Return what there are goals for."""
        single, slot = (
            [self._over(one, GROUPED) / self._over(one, name) for one in self.rounds]
            for name in (SINGLE, SLOT)
        )
        shares = [one[DIRECT].seconds / one[GROUPED].seconds for one in self.rounds]
        return [
            Row("overhead, grouped to one at a time", statistics.median(single), "x", GOAL),
            Row("overhead, grouped to one slot", statistics.median(slot), "x", GOAL),
            Row("rate, grouped to direct", statistics.median(shares), "x", Goal("≥", 0.5)),
        ]

    def as_json(self) -> dict[str, object]:
        """Return what ``json.dumps`` takes: the medians, in seconds."""
        medians = {name: self.median(name) for name in self.rounds[0]}
        return {
            name: {"seconds": way.seconds, "overhead": self.overhead(name), "used": way.used}
            for name, way in medians.items()
        }

    def _over(self, one: Round, name: str) -> float:
        return (one[name].seconds - one[DIRECT].seconds) / self.calls


def compare(place: Place, calls: int, rounds: int) -> Compared:
    """Make the same calls in each way, another one first each round."""
    agents = {
        GROUPED: Agent("grouped", "grouped", SLOTS),
        SINGLE: Agent("single", "single", SLOTS, batch=1),
        SLOT: Agent("slot", "slot", slots=1, batch=1),
    }
    with place.agents(*agents.values()) as pids, _stock(place) as stock:
        ways: dict[str, Make] = {
            DIRECT: _direct,
            **{
                name: partial(_operations, place, agent.server, pid)
                for (name, agent), pid in zip(agents.items(), pids, strict=True)
            },
            STOCK: stock,
        }
        for make in ways.values():
            make(max(1, calls // 10))  # the first calls of a process are slow ones
        return Compared(calls, [_round(place, ways, calls, number) for number in range(rounds)])


def _round(place: Place, ways: Mapping[str, Make], calls: int, number: int) -> Round:
    place.say(f"round {number + 1}: {calls:,} calls in each of {len(ways)} ways")
    names = list(ways)
    first = number % len(names)
    took = {name: ways[name](calls) for name in names[first:] + names[:first]}
    return {name: took[name] for name in names}


def _direct(calls: int) -> Way:
    command = [sys.executable, "-m", "omx_tasks.bench.direct", str(calls), str(SLOTS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=DEADLINE, check=True)
    told = json.loads(done.stdout)
    return Way(told["seconds"], {"agent": told["client"], "server": told["server"]} | _NEITHER)


#: A plain client has no broker, and nobody who asks it to work.
_NEITHER = {"redis": 0.0, "producer": 0.0}


def _operations(place: Place, server: str, agent: int, calls: int) -> Way:
    used = place.watch([agent])
    began = time.time()
    view = place.run(independent(server, calls))
    return _way(view.created + view.seconds - began, used(), calls)


@contextmanager
def _stock(place: Place) -> Iterator[Make]:
    """Give what makes calls with stock Celery: threads, one session, one Redis server."""
    with stock_side(place.folder / "stock") as side:
        nodes = [
            one
            for one in psutil.Process().children()
            if str(side.nodes[0].port) in " ".join(one.cmdline())
        ]
        app = Celery("bench", set_as_current=False)
        app.conf.update(side.settings)
        options = ("-P", "threads", "-c", str(SLOTS))
        worker = place.worker("stock", "omx_tasks.bench.stock", options, side)
        try:
            worker.start().wait_until_ready()
            yield lambda calls: _tasks(place, app, worker, nodes, calls)
        finally:
            worker.stop()
            app.close()


def _tasks(
    place: Place, app: Celery, worker: Worker, nodes: list[psutil.Process], calls: int
) -> Way:
    used = place.watch([worker.pid], nodes)
    began = time.time()
    tasks = [app.signature(CALL, args=(0, f"o{number}")) for number in range(calls)]
    group(tasks, app=app).apply_async().get(timeout=DEADLINE)
    return _way(time.time() - began, used(), calls)


def _way(seconds: float, used: Mapping[str, float], calls: int) -> Way:
    return Way(seconds, {part: processor / calls for part, processor in used.items()})
