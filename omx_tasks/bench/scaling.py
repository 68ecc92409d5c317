"""How agents follow a load that comes and goes: a square wave, once scaled, once with few agents, once with many.

Operations that sleep are submitted four times a second. What they waited is from then until their call began; what
agents cost is how long their processes were there. Everything but the load is as a user has it: a nursery, and a
coordinator in a process of its own.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from omx_tasks.agents.registry import agents as registered
from omx_tasks.api import submit_graph
from omx_tasks.bench import forks
from omx_tasks.bench.place import DEADLINE, Measured, Place, Row, calls_of, independent
from omx_tasks.bench.sides import our_side
from omx_tasks.bench.wave import Course, Wave
from omx_tasks.deploy.nursery import Nursery
from omx_tasks.deploy.process import Process, end_all
from omx_tasks.deploy.temporary import temporary_folder
from omx_tasks.store.client import Store

#: Seconds that an operation takes, and the slots of an agent.
SECONDS, SLOTS = 0.5, 4
#: Seconds between two submissions, and between two looks at the agents; what agents have to end.
TICK, LOOK, GRACE = 0.25, 0.25, 10.0
#: Agents at most.
MOST = 6
QUICK = Wave(high=20.0, low=2.0, half=4.0, periods=1)
#: Seconds after which one agent too many is drained.
IDLE = 5.0


@dataclass
class _Watch:
    """What was seen of the agents while a load ran; ``agents`` are pairs of seconds and how many were warm."""

    agents: list[tuple[float, int]] = field(default_factory=list)
    seconds: float = 0.0
    changes: int = 0


def measure(wave: Wave, most: int, say: Callable[[str], None]) -> tuple[list[Course], Measured]:
    """Measure a wave; everything that this starts is gone when it returns or raises."""
    began = time.monotonic()
    with (
        temporary_folder("omx-bench-") as folder,
        our_side(folder / "cluster") as side,
        closing(Store(str(side.settings["broker_url"]))) as store,
    ):
        rows, courses = scaling(Place(folder, side, store, say), wave, most)
    return courses, Measured(wave, rows, time.monotonic() - began)


def scaling(place: Place, wave: Wave, most: int) -> tuple[list[Row], list[Course]]:
    """Compare 1 to ``most`` agents with one, and with all of them."""
    bounds = {f"1 to {most} agents": (1, most), "1 agent": (1, 1), f"{most} agents": (most, most)}
    rows, courses = [], []
    for number, (title, (least, highest)) in enumerate(bounds.items()):
        place.say(f"a load that comes and goes, {title}")
        server = f"sleeper_wave{number}"
        with _agents(place, server, least, highest) as nursery:
            waits, watch = _run(place, nursery, server, wave)
        cuts = statistics.quantiles(waits, n=100, method="inclusive")
        rows += [
            Row(f"{title}: waiting p50", cuts[49], "s"),
            Row(f"{title}: waiting p99", cuts[98], "s"),
            Row(f"{title}: there for", watch.seconds, "agent s"),
            Row(f"{title}: more or fewer", watch.changes, "times"),
        ]
        courses.append(Course(title, watch.agents))
    return rows, courses


@contextmanager
def _agents(place: Place, server: str, least: int, most: int) -> Iterator[Nursery]:
    """Run a nursery that begins with ``least`` warm agents, and a coordinator."""
    environ = forks.environ(place, server, OMX_SLOTS=str(SLOTS))
    command = [sys.executable, "-m", "workers.coordinator"]
    coordinator = Process("coordinator", command, place.folder / f"{server}-coordinator.log")
    try:
        coordinator.start(environ)
        with forks.nursery(place, server, environ, least, most, idle=IDLE) as nursery:
            yield nursery
    finally:
        end_all([coordinator], GRACE)


def _run(place: Place, nursery: Nursery, server: str, wave: Wave) -> tuple[list[float], _Watch]:
    """Run the wave; return what each operation waited, and what was seen of the agents until the last one was done."""
    done = threading.Event()
    with ThreadPoolExecutor() as threads:
        watched = threads.submit(_watch, place, nursery, done)
        try:
            waits = _load(place, server, wave)
        finally:
            done.set()
    return waits, watched.result()


def _load(place: Place, server: str, wave: Wave) -> list[float]:
    runs, began, pause = [], time.monotonic(), threading.Event()
    owed = 0.0
    for tick in range(round(wave.seconds / TICK)):
        pause.wait(max(0.0, began + tick * TICK - time.monotonic()))
        owed += wave.rate(tick * TICK) * TICK
        if owed >= 1:
            graph = independent(server, int(owed), SECONDS)
            runs.append((time.time(), submit_graph(place.store, graph, {})))
            owed -= int(owed)
    waits = []
    for submitted, run in runs:
        for call in calls_of(run.wait(DEADLINE)):
            assert call.started is not None
            waits.append(max(0.0, call.started - submitted))
    return waits


def _watch(place: Place, nursery: Nursery, done: threading.Event) -> _Watch:
    """Keep the agents up, and note how many there are."""
    watch, began, last = _Watch(), time.monotonic(), time.monotonic()
    noted = -LOOK
    wanted = nursery.wanted
    while not done.wait(LOOK / 5):
        nursery.look()
        now = time.monotonic()
        watch.seconds += (now - last) * sum(process.alive for process in nursery.processes)
        watch.changes += nursery.wanted != wanted
        last, wanted = now, nursery.wanted
        if now - began - noted >= LOOK:
            noted = now - began
            ours = {nursery.node(process) for process in nursery.processes if process.alive}
            warm = sum(record.name in ours for record in registered(place.store))
            watch.agents.append((noted, warm))
    return watch
