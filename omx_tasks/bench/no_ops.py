"""How many operations a second agents work off when there is nothing to call: what the system itself can do."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from omx_tasks.bench import loads
from omx_tasks.bench.app import TALLY
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.place import Place, Row
from omx_tasks.bench.tally import Tally

SLOTS = 64


def measure(place: Place, count: int, rounds: int) -> Iterator[Row]:
    """Work off runs of ``count`` operations, with one agent and with two."""
    for agents, noun in ((1, "agent"), (2, "agents")):
        place.say(f"{count:,} operations without a call, {agents} {noun}")
        rates = [
            _rate(place, f"nothing-{agents}-{number}", agents, count) for number in range(rounds)
        ]
        rate = statistics.median(rates)
        yield Row(f"no-op operations, {agents} {noun}", rate, "/s", Goal("≥", 5000))


def _rate(place: Place, name: str, agents: int, count: int) -> float:
    tally = Tally.create(place.folder / f"{name}.tally")
    queue = loads.submit_operations(place.side, name, count)
    environ = {
        TALLY: str(tally.path),
        "OMX_BROKER_URL": str(place.side.settings["broker_url"]),
        "OMX_SLOTS": str(SLOTS),
    }
    workers = [
        place.worker(f"{name}-{one}", "omx_tasks.bench.agent", ("-Q", name), place.side, **environ)
        for one in range(agents)
    ]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait_until_ready()
        return loads.drain(place.side, workers, tally, queue, count).rate
    finally:
        for worker in workers:
            worker.kill()  # the queue is empty
