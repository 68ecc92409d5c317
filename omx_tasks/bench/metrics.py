"""What it costs to be seen: an agent's processor time for what it tells, and a scrape of a large system's metrics.

Two agents do the same calls in turns, one of which tells of its operations (``OMX_EVENTS_OPERATIONS``); what counts is
the median of their pairs. Where py-spy is installed it also says what part of an agent's time all that it does to be
seen takes. The large system are records in a real cluster: heartbeats as agents write them, and counts
that the tracker made of events.
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from omx_tasks.bench import sampling
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.fleet import Agent
from omx_tasks.bench.place import Measured, Place, Row, independent
from omx_tasks.bench.sides import our_side
from omx_tasks.deploy.temporary import temporary_folder
from omx_tasks.errors import UnavailableError
from omx_tasks.events import types
from omx_tasks.monitoring.endpoint import Endpoint
from omx_tasks.monitoring.metrics import SystemCollector
from omx_tasks.monitoring.sections.system import sections
from omx_tasks.monitoring.tracker import Tracker
from omx_tasks.priorities import Priority
from omx_tasks.settings import Settings, Told
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script

SLOTS = 32
#: The part of an agent's processor time that telling may take, and that all it does to be seen may take.
GOAL = Goal("≤", 0.03)
#: What an agent does to be seen, by the files in which that is.
PARTS: sampling.Parts = {
    "telling": (
        "agents/telling.py",
        "events/bus.py",
        "events/log.py",
        "events/shipper.py",
        "events/types.py",
    ),
    "durations": ("agents/stopwatch.py", "results/durations.py"),
    "heartbeat": ("agents/heartbeat.py", "Host._record "),
    "weighing": (
        "omx_tasks/memory.py",
        "health/footprint.py",
        "health/tenure.py",
        "SessionPool._weigh ",
    ),
}


@dataclass(frozen=True)
class Size:
    """Pairs of runs and the calls of each, and how long an agent is sampled (seconds).

    Agents and tools of the large system, and how often it is scraped.
    """

    pairs: int = 7
    calls: int = 1000
    agents: int = 50
    tools: int = 200
    scrapes: int = 20
    sampled: float = 20.0


QUICK = Size(pairs=1, calls=40, agents=5, tools=20, scrapes=2, sampled=1.0)


def measure(size: Size, say: Callable[[str], None]) -> Measured:
    """Measure; everything that this starts is gone when it returns or raises."""
    began = time.monotonic()
    with (
        temporary_folder("omx-bench-") as folder,
        our_side(folder / "cluster") as side,
        closing(Store(str(side.settings["broker_url"]))) as store,
    ):
        place = Place(folder, side, store, say)
        notes: list[str] = []
        rows = [*_telling(place, size, notes), *_scrapes(place, size)]
    return Measured(size, rows, time.monotonic() - began, notes)


def _telling(place: Place, size: Size, notes: list[str]) -> list[Row]:
    agents = {
        told: Agent(f"tells-{told}", f"sleeper-{told}", SLOTS, tells=told)
        for told in (Told.NONE, Told.ENDED)
    }
    used: dict[Told, list[float]] = {told: [] for told in agents}
    with place.agents(*agents.values()) as pids:
        by_told = dict(zip(agents, pids, strict=True))
        for number in range(size.pairs + 1):
            place.say(f"calls, told of and not: {number} of {size.pairs}")
            for told, agent in agents.items():
                used_now = place.watch([by_told[told]])
                place.run(independent(agent.server, size.calls))
                used[told].append(used_now()["agent"] / size.calls * 1e6)
        sampled = _sampled(place, size, agents[Told.ENDED], by_told[Told.ENDED], notes)
    # The first pair is for what is made once.
    silent, telling = used[Told.NONE][1:], used[Told.ENDED][1:]
    parts = [1 - none / ended for none, ended in zip(silent, telling, strict=True)]
    return [
        Row("agent, nothing told", statistics.median(silent), "µs/call"),
        Row("agent, each end told", statistics.median(telling), "µs/call"),
        Row("telling's part of the agent", statistics.median(parts), "", GOAL),
        *sampled,
    ]


def _sampled(place: Place, size: Size, agent: Agent, pid: int, notes: list[str]) -> list[Row]:
    """Return what part of its time an agent spends to be seen; nothing where that cannot be sampled."""
    place.say(f"an agent, sampled for {size.sampled:.0f} s")
    calls = independent(agent.server, size.calls)
    try:
        shares = sampling.parts_of(pid, size.sampled, PARTS, place.folder, lambda: place.run(calls))
    except UnavailableError as error:
        notes.append(f"the part of all that an agent does to be seen is left out: {error}")
        return []
    return [
        Row("being seen, part of the agent by py-spy", sum(shares.values()), "", GOAL),
        *(Row(f"  {part}", share) for part, share in shares.items()),
    ]


def _scrapes(place: Place, size: Size) -> list[Row]:
    given = Settings()
    collector = SystemCollector(place.store, sections(given))
    endpoint = Endpoint("127.0.0.1", 0, lambda: None, [collector]).start()
    Tracker(place.store, given).count(_ends(size.tools))
    seconds, processor, length = [], [], 0
    place.say(f"scrapes of {size.agents} agents and {size.tools} tools")
    try:
        for _ in range(size.scrapes):
            _beat(place.store, size)
            began, used = time.perf_counter(), time.process_time()
            with urllib.request.urlopen(f"{endpoint.url}/metrics", timeout=30) as answer:  # noqa: S310 - ours
                length = len(answer.read())
            seconds.append(time.perf_counter() - began)
            processor.append(time.process_time() - used)
    finally:
        endpoint.stop()
        collector.stop()
    what = f"{size.agents} agents, {size.tools} tools"
    return [
        Row(f"scrape, {what}", statistics.median(seconds) * 1000, "ms"),
        Row("scrape, processor", statistics.median(processor) * 1000, "ms"),
        Row("scrape, size", length / 1000, "kB"),
    ]


def _ends(tools: int) -> list[types.Event]:
    """Return ends of operations of so many tools, ten to a server, each with durations of its own."""
    now = time.time()
    return [
        types.Event(
            f"e{number}",
            "operation.succeeded",
            Priority.P2,
            "",
            now,
            {
                "run": "r",
                "graph": "bench",
                "operation": f"o{number % tools}",
                "server": f"server{number % tools // 10}",
                "kind": "tool",
                "target": f"tool{number % tools}",
                "priority": number % 4,
                "attempts": 1,
                "waited": 0.001 * (number % 97),
                "started": now - 0.01 * (1 + number % 89),
                "finished": now,
            },
            place=types.Place(0, number + 1),
        )
        for number in range(tools * 10)
    ]


def _beat(store: Store, size: Size) -> None:
    """Write the heartbeats of so many agents, each with ten sessions."""
    names = (keys.agents(), keys.catalogue(), keys.capability_sets())
    servers = [f"server{number}" for number in range(10)]
    session = {"state": "idle", "protocol": "", "age": 1.0, "pid": 1, "rss": 1, "calls": 0}
    sessions = [{"server": name, **session, "recycled": 0} for name in servers]
    about = {"host": "here", "pid": 1, "slots": 32, "busy": 1, "done": 1, "silence": 0.1}
    record = json.dumps(
        {**about, "servers": servers, "failed": {}, "config": "", "sessions": sessions}
    )
    beats = [(f"agent{number}@bench", record) for number in range(size.agents)]
    store.run_many([Call(script("heartbeat_1"), names, beat) for beat in beats])
