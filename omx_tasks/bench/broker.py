"""Stock Celery on one Redis server against ours on a cluster: the same tasks, side by side, in one run.

::

    for each pair, alternately first:   stock ─ sample ─┐
                                        ours  ─ sample ─┴─ ratio          figures: medians of all pairs

A machine's speed drifts by half within minutes, so only the two samples of one pair are compared with each other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omx_tasks.bench import loads
from omx_tasks.bench.app import CONFIGURATION, STATELESS, TALLY
from omx_tasks.bench.connections import addresses_of, waiting_connections
from omx_tasks.bench.figures import Figure, Sample, figures
from omx_tasks.bench.requests import counting_requests
from omx_tasks.bench.sides import Side, our_side, stock_side
from omx_tasks.bench.tally import Tally
from omx_tasks.bench.worker import Worker

Say = Callable[[str], None]
POOLS = {"prefork": 2, "threads": 8}
#: Slots of the agent: as many operations are claimed at once.
SLOTS = 64
APP, AGENT = "omx_tasks.bench.app", "omx_tasks.bench.agent"


@dataclass(frozen=True)
class Size:
    """How much is done for one sample: messages a queue, watched messages, round trips, seconds of rest."""

    messages: int = 3000
    watched: int = 200
    trips: int = 300
    rest: float = 3.0


QUICK = Size(messages=200, watched=20, trips=30, rest=0.5)


@dataclass(frozen=True)
class Comparison:
    """What came out."""

    figures: list[Figure]
    pairs: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes."""
        return {
            "pairs": self.pairs,
            "seconds": round(self.seconds, 1),
            "figures": [figure.as_json() for figure in self.figures],
        }


def compare(pairs: int, size: Size, say: Say) -> Comparison:
    """Measure; everything that this starts is gone when it returns or raises."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="omx-bench-") as name:
        folder = Path(name)
        with stock_side(folder / "stock") as stock, our_side(folder / "ours") as ours:
            samples = [_pair(folder, stock, ours, size, number, say) for number in range(pairs)]
    return Comparison(figures(samples), pairs, time.monotonic() - began)


def _pair(
    folder: Path, stock: Side, ours: Side, size: Size, number: int, say: Say
) -> tuple[Sample, Sample]:
    order = (stock, ours) if number % 2 == 0 else (ours, stock)
    got: dict[str, Sample] = {}
    for side in order:
        say(f"pair {number + 1}: {side.name}")
        got[side.name] = Bench(side, folder, size, number).sample()
    return got["stock"], got["ours"]


class Bench:
    """Takes one sample of one side."""

    def __init__(self, side: Side, folder: Path, size: Size, number: int) -> None:
        self.side, self.size = side, size
        self._folder = folder
        self._prefix = f"bench-{side.name}-{number}"
        self._tally = Tally.create(folder / f"{self._prefix}.tally")

    def sample(self) -> Sample:
        """Fill queues, then have each pool work them off."""
        got = self._publish()
        for pool in POOLS:
            with self._worker(pool) as worker:
                if pool == "prefork":
                    got |= self._look(worker)
                got |= self._drain(pool, worker)
        if self.side.name == "ours":
            got["publish_many"] = loads.publish_at_once(
                self.side, self._queue("many"), self.size.messages
            )
            got["messages"] = self._operate("messages", stateless=True)
            got["operations"] = self._operate("operations")
        return got

    def _queue(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _publish(self) -> dict[str, float]:
        """Fill the queues that are worked off later; the rates are those of messages without a result."""
        count = self.size.messages
        single = loads.publish_singly(self.side, self._queue("prefork-plain"), count)
        rates = [
            loads.publish_in_batches(
                self.side, self._queue(name), count, results=name.endswith("results")
            )
            for name in ("threads-plain", "prefork-results", "threads-results")
        ]
        watched = self._queue("watched")
        loads.publish_in_batches(self.side, watched, self.size.watched, results=True)
        return {"publish_single": single, "publish_batch": rates[0]}

    def _drain(self, pool: str, worker: Worker) -> dict[str, float]:
        got: dict[str, float] = {}
        for kind in ("results", "plain"):
            queue = self._queue(f"{pool}-{kind}")
            drained = loads.drain(self.side, [worker], self._tally, queue, self.size.messages)
            got[f"{pool}_{kind}"] = drained.rate
            if pool == "prefork":
                got[f"parent_cpu_{kind}"] = drained.cpu * 1e6
        return got

    def _operate(self, kind: str, *, stateless: bool = False) -> float:
        """Have an agent work off operations that do nothing; returns how many a second."""
        queue = loads.submit_operations(self.side, f"{self._prefix}-{kind}", self.size.messages)
        with self._agent(kind, stateless=stateless) as agent:
            return loads.drain(self.side, [agent], self._tally, queue, self.size.messages).rate

    def _look(self, worker: Worker) -> dict[str, float]:
        """Measure what needs a worker that is otherwise at rest, beginning with a fresh one."""
        return {
            "idle_cpu": loads.idle_cpu(worker, self.size.rest),  # it may still be connecting
            "waiting_1": waiting_connections(self.side, worker),
            **self._round_trips(),
            "requests_task": self._requests(worker),
            "waiting_10": self._waiting(worker, have=2, want=10),
            "waiting_50": self._waiting(worker, have=10, want=50),
        }

    def _round_trips(self) -> dict[str, float]:
        with loads.calling(self.side, self._queue("first")) as round_trip:
            seconds = [round_trip() for _ in range(self.size.trips)]
            with counting_requests(self.side) as seen:
                for _ in range(self.size.watched):
                    round_trip()
        return {
            "round_trip_p50": loads.percentile(seconds, 50) * 1000,
            "round_trip_p99": loads.percentile(seconds, 99) * 1000,
            "requests_trip": seen.total() / self.size.watched,
        }

    def _requests(self, worker: Worker) -> float:
        """Count what a worker asks of the servers for each task, while it works a queue off."""
        count, queue = self.size.watched, self._queue("watched")
        with counting_requests(self.side) as seen:
            loads.drain(self.side, [worker], self._tally, queue, count)
            time.sleep(loads.SETTLE)
        return sum(seen[address] for address in addresses_of(worker)) / count

    def _waiting(self, worker: Worker, *, have: int, want: int) -> float:
        """Give a worker more queues and count the connections on which it waits."""
        names = [self._queue(f"more-{number}") for number in range(have, want)]
        loads.consume(self.side, worker, *names)
        time.sleep(loads.SETTLE)
        return waiting_connections(self.side, worker)

    def _worker(self, pool: str) -> AbstractContextManager[Worker]:
        options = ("-P", pool, "-c", str(POOLS[pool]))
        return self._running(pool, APP, options, {})

    def _agent(self, kind: str, *, stateless: bool) -> AbstractContextManager[Worker]:
        environ = {"OMX_BROKER_URL": self.side.settings["broker_url"], "OMX_SLOTS": str(SLOTS)}
        return self._running(kind, AGENT, (), environ | ({STATELESS: "1"} if stateless else {}))

    @contextmanager
    def _running(
        self, name: str, app: str, options: tuple[str, ...], environ: dict[str, str]
    ) -> Iterator[Worker]:
        worker = Worker(
            name=f"{self._prefix}-{name}",
            app=app,
            options=(*options, "-Q", self._queue("first")),
            environ={
                CONFIGURATION: json.dumps(self.side.settings),
                TALLY: str(self._tally.path),
                "TMPDIR": str(self._folder),
                **environ,
            },
            log=self._folder / f"{self._prefix}-{name}.log",
        )
        try:
            yield worker.start().wait_until_ready()
        finally:
            worker.kill()  # its queues are empty
