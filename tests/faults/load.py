"""A load on a cluster, written down outside of it: who was told that a message is stored, and which were worked on.

Producers publish into two queues, one of the shard that a fault strikes and one of another; worker processes take
from both. What a producer was told stands in this process's memory, what a worker did in the `Ledger`'s file.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from ledger_app import LATE, NOTE
from ledger_file import Ledger
from ledger_workers import ledger_worker
from shard import Cluster, wait_until

from omx_tasks.bench.worker import Worker
from omx_tasks.broker import audit
from omx_tasks.errors import OmxError
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.topology import slot_of

#: Seconds of a lease; so long a message may be away that a lost connection took along.
LEASE = 2.0
#: Seconds after which every third message is to be worked on: the others hardly stay in the cluster long enough to be
#: lost with it.
LATER = 4.0
#: Seconds that one request may take: longer than any election.
TIMEOUT = 15.0
#: Seconds without progress after which what is missing counts as lost.
PATIENCE = 40.0
KINDS = ("threads", "prefork")
BATCH = 10


@dataclass
class Producer:
    """Publishes numbers, one by one and in batches in turn, until it is stopped."""

    app: Celery
    queue: str
    numbers: Iterator[int]
    pause: float
    padding: int
    acknowledged: dict[int, float] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"producer {self.queue}")
        self._thread.start()

    def stop(self) -> None:
        """Stop, if it was started; a second time changes nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(TIMEOUT * 3)
            assert not self._thread.is_alive(), "a producer hangs"

    def _run(self) -> None:
        with self.app.producer_or_acquire() as producer:
            for size in itertools.cycle((1, 1, 1, BATCH)):
                if self._stop.wait(self.pause * size):
                    return
                numbers = list(itertools.islice(self.numbers, size))
                try:
                    self._publish(producer, numbers)
                except (OmxError, OSError, OperationalError) as error:
                    self.refused.update(dict.fromkeys(numbers, str(error)))
                else:
                    self.acknowledged.update(dict.fromkeys(numbers, time.monotonic()))

    def _publish(self, producer: Any, numbers: Sequence[int]) -> None:
        if len(numbers) == 1:
            self._send(producer, numbers[0])
            return
        with producer.batch():
            for number in numbers:
                self._send(producer, number)

    def _send(self, producer: Any, number: int) -> None:
        self.app.send_task(
            NOTE,
            (number,),
            queue=self.queue,
            producer=producer,
            ignore_result=True,
            retry=False,
            countdown=LATER if number % 3 == 0 else None,
            headers={"padding": "x" * self.padding} if self.padding else None,
        )

    def outage(self, since: float) -> float:
        """Return the longest time between two acknowledgements since then, in seconds."""
        return longest_gap(since, self.acknowledged.values())


@dataclass(frozen=True)
class Outcome:
    """What the two books say when they are held side by side.

    ``outage`` and ``gap`` are the longest times, in seconds, for which no message of the struck queue was acknowledged,
    and none was worked on. ``left`` messages are still in the queues; ``restarted`` workers died.
    """

    acknowledged: int
    lost: int
    duplicated: int
    refused: int
    outage: float
    gap: float
    left: int
    restarted: int
    reasons: tuple[str, ...] = ()


class Load:
    """Producers and workers on one cluster; ``struck`` is the queue whose shard is to be struck."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        *,
        pause: float,
        padding: int,
        durability: str,
        partitions: int,
    ) -> None:
        self.cluster, self.folder = cluster, folder
        self.store = Store(cluster.url(), timeout=TIMEOUT)
        self.struck, self.other = two_queues(self.store, folder.name)
        self.ledger = Ledger(folder / "ledger")
        self.settings: dict[str, Any] = {
            "broker_url": cluster.url(),
            "broker_transport_options": {
                "lease": round(LEASE * 1000),
                "timeout": TIMEOUT,
                "durability": durability,
                "partitions": partitions,
                "most_deliveries": 0,
                "most_losses": 0,
            },
            **LATE,
        }
        self._apps = [Celery(f"producer {n}", set_as_current=False) for n in range(2)]
        numbers = itertools.count()
        self.producers = []
        for app, queue in zip(self._apps, (self.struck, self.other), strict=True):
            app.conf.update(self.settings)
            self.producers.append(Producer(app, queue, numbers, pause, padding))
        self.workers: list[Worker] = []
        self._pids: list[int] = []

    def start(self) -> None:
        for kind in KINDS:
            queue_names = f"{self.struck},{self.other}"
            worker = ledger_worker(
                self.folder, kind, kind, self.settings, self.ledger.path, queue_names
            )
            self.workers.append(worker.start())
        for worker in self.workers:
            worker.wait_until_ready()
        self._pids = [worker.pid for worker in self.workers]
        for producer in self.producers:
            producer.start()

    @property
    def acknowledged(self) -> int:
        return sum(len(producer.acknowledged) for producer in self.producers)

    def grow(self, count: int, seconds: float = 60.0) -> None:
        """Wait until each producer was told of so many more messages."""
        goals = [len(producer.acknowledged) + count for producer in self.producers]
        wait_until(
            lambda: all(
                len(p.acknowledged) >= goal for p, goal in zip(self.producers, goals, strict=True)
            ),
            seconds,
        )

    def finish(self, since: float) -> Outcome:
        """Stop the producers, let the workers work everything off, and hold the books side by side."""
        for producer in self.producers:
            producer.stop()
        told = {number for producer in self.producers for number in producer.acknowledged}
        self._wait_for(told)
        counts = self.ledger.counts()
        refused = [reason for producer in self.producers for reason in producer.refused.values()]
        return Outcome(
            acknowledged=len(told),
            lost=len(told - counts.keys()),
            duplicated=sum(count - 1 for count in counts.values()),
            refused=len(refused),
            outage=self.producers[0].outage(since),
            gap=self._gap(since),
            left=self._left(),
            restarted=sum(
                not worker.alive or worker.pid != pid
                for worker, pid in zip(self.workers, self._pids, strict=True)
            ),
            reasons=tuple(sorted(set(refused)))[:3],
        )

    def _gap(self, since: float) -> float:
        mine = self.producers[0].acknowledged
        return longest_gap(since, (e.at for e in self.ledger.entries() if e.number in mine))

    def _wait_for(self, told: set[int]) -> None:
        seen, until = -1, time.monotonic() + PATIENCE
        while told - self.ledger.counts().keys() or self._left():
            if time.monotonic() > until:
                return
            if (now := len(self.ledger.entries())) > seen:
                seen, until = now, time.monotonic() + PATIENCE
            time.sleep(0.1)

    def _left(self) -> int:
        """Count what is still in the queues, whatever its state."""
        found = audit.reports(self.store, (self.struck, self.other))
        return sum(report.present for report in found)

    def stop(self) -> None:
        for producer in self.producers:
            producer.stop()
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.stop()
        for app in self._apps:
            app.close()
        self.store.close()


@contextmanager
def loaded(
    cluster: Cluster,
    folder: Path,
    *,
    pause: float = 0.003,
    padding: int = 0,
    durability: str = "replica",
    partitions: int = 1,
) -> Iterator[Load]:
    """Give a load that has begun."""
    folder.mkdir(parents=True, exist_ok=True)
    load = Load(
        cluster, folder, pause=pause, padding=padding, durability=durability, partitions=partitions
    )
    try:
        load.start()
        yield load
    finally:
        load.stop()


def longest_gap(since: float, moments: Iterable[float]) -> float:
    """Return the longest time between two moments since then, in seconds."""
    later = sorted({since, *(moment for moment in moments if moment > since)})
    return max((b - a for a, b in itertools.pairwise(later)), default=0.0)


def two_queues(store: Store, prefix: str) -> tuple[str, str]:
    """Return the names of two queues, the first in the shard of slot 0 and the second in another."""
    store.ping(5.0)
    names = [f"{prefix}-{number}" for number in range(64)]
    owners = {name: store.topology.owner(slot_of(keys.meta(name))) for name in names}
    first = store.topology.owner(0)
    return (
        next(name for name in names if owners[name] == first),
        next(name for name in names if owners[name] != first),
    )
