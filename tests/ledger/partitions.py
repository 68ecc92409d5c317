"""What partitions cost and bring: ``python tests/ledger/partitions.py [--counts N…] [--rounds N] [--mixed N]``.

The same queue with 1, 3 and 6 partitions, in turns, on one cluster. *Order*: a mixture of priorities lies there, and is
worked off by one slot, then by two workers with four each (which are never in order among each other); then urgent
messages come while the least urgent are worked off. *Speed*: publishing one by one and many at once, as durable as by
default, and two workers that work the queue off.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from celery import Celery
from ledger_app import LATE, NOTE
from ledger_file import Ledger
from ledger_order import disorder, ran_before
from ledger_workers import ledger_worker

from omx_tasks.bench import loads
from omx_tasks.bench.app import CONFIGURATION, TALLY
from omx_tasks.bench.sides import Side, our_side
from omx_tasks.bench.tally import Tally
from omx_tasks.bench.worker import Worker
from omx_tasks.broker.many import publish_many
from omx_tasks.broker.pattern import TaskCall

PAUSE = 0.005
TIMEOUT = 120.0
#: Urgent messages that come, and the seconds between them.
URGENT, APART = 100, 0.01
TITLES = {
    "one slot": "ran after a less urgent one, of 10,000: one slot",
    "eight slots": "ran after a less urgent one, of 10,000: two workers, four slots each",
    "overtaken": "ran after a younger one of its priority, of 10,000: one slot",
    "before P0": "P3 that ran between the publishing of a P0 and its run: mean",
    "single": "messages/s published one by one",
    "many": "messages/s published at once",
    "drain": "messages/s worked off by two workers",
    "cpu": "µs of processor time that a message takes of them",
}


def main() -> None:
    """Measure and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 3, 6])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=6000)
    parser.add_argument("--mixed", type=int, default=10_000)
    options = parser.parse_args()
    found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(prefix="omx-partitions-")))
        side = stack.enter_context(our_side(place / "ours", durability="replica"))
        for number in range(options.rounds):
            for count in options.counts:
                folder = place / f"{number}-{count}"
                folder.mkdir()
                sample = Sample(_with(side, count), folder, options.messages, options.mixed)
                for title, value in sample.take().items():
                    found[count][title].append(value)
    print(f"{'partitions':<72}" + "".join(f"{count:>10}" for count in options.counts))
    for key, title in TITLES.items():
        values = (statistics.median(found[count][key]) for count in options.counts)
        print(f"{title:<72}" + "".join(f"{value:>10,.0f}" for value in values))


def _with(side: Side, count: int) -> Side:
    options = {**side.settings["broker_transport_options"], "partitions": count}
    return replace(side, settings={**side.settings, "broker_transport_options": options})


@dataclass(frozen=True)
class Sample:
    """One measurement of all, with queues of its own."""

    side: Side
    folder: Path
    messages: int
    mixed: int

    def take(self) -> dict[str, float]:
        """Measure everything once."""
        with Celery("partitions", set_as_current=False) as app:
            app.conf.update({**self.side.settings, **LATE})
            return {
                **self._mixture(app, "one slot", ["one"]),
                **self._mixture(app, "eight slots", ["threads", "threads"]),
                "before P0": self._urgent(app),
                **self._speed(),
            }

    def _queue(self, name: str) -> str:
        return f"{self.folder.name}-{name.replace(' ', '-')}"

    def _mixture(self, app: Celery, name: str, kinds: Sequence[str]) -> dict[str, float]:
        ledger, chance = Ledger(self.folder / name), random.Random(1)
        priorities = [chance.randrange(4) for _ in range(self.mixed)]
        _publish(app, self._queue(name), dict(enumerate(priorities)))
        with self._working(ledger, name, kinds):
            _wait_for(ledger, self.mixed)
        found = disorder(ledger.entries(), priorities)
        share = 10_000 / self.mixed
        got = {name: found.inverted * share}
        return {**got, "overtaken": found.overtaken * share} if name == "one slot" else got

    def _urgent(self, app: Celery) -> float:
        name, ledger = "urgent", Ledger(self.folder / "urgent")
        _publish(app, self._queue(name), dict.fromkeys(range(self.mixed), 3))
        sent: dict[int, float] = {}
        with self._working(ledger, name, ["threads", "threads"]):
            _wait_for(ledger, 1)
            for number in range(self.mixed, self.mixed + URGENT):
                app.send_task(
                    NOTE, (number,), queue=self._queue(name), priority=0, ignore_result=True
                )
                sent[number] = time.monotonic()
                time.sleep(APART)
            _wait_for(ledger, self.mixed + URGENT)
        return statistics.mean(ran_before(ledger.entries(), sent))

    @contextmanager
    def _working(self, ledger: Ledger, queue: str, kinds: Sequence[str]) -> Iterator[None]:
        with ExitStack() as stack:
            for number, kind in enumerate(kinds):
                name = f"{self._queue(queue)}-{number}"
                worker = ledger_worker(
                    self.folder, name, kind, self.side.settings, ledger.path, self._queue(queue)
                )
                stack.callback(worker.stop)
                worker.start()
            yield

    def _speed(self) -> dict[str, float]:
        queues = {name: self._queue(name) for name in ("single", "many")}
        rates = {
            "single": loads.publish_singly(self.side, queues["single"], self.messages // 3),
            "many": loads.publish_at_once(self.side, queues["many"], self.messages),
        }
        tally = Tally.create(self.folder / "tally")
        with ExitStack() as stack:
            workers = [self._drainer(number, tally) for number in range(2)]
            for worker in workers:
                stack.callback(worker.kill)
                worker.start()
            for worker in workers:
                worker.wait_until_ready()
            drained = loads.drain(self.side, workers, tally, queues["many"], self.messages)
        return {**rates, "drain": drained.rate, "cpu": drained.cpu * 1e6}

    def _drainer(self, number: int, tally: Tally) -> Worker:
        settings = self.side.settings
        return Worker(
            name=self._queue(f"drain-{number}"),
            app="omx_tasks.bench.app",
            options=("-P", "threads", "-c", "8", "-Q", self._queue("nothing")),
            environ={
                CONFIGURATION: json.dumps(settings),
                TALLY: str(tally.path),
                "TMPDIR": str(self.folder),
            },
            log=self.folder / f"drain-{number}.log",
        )


def _publish(app: Celery, queue: str, priorities: Mapping[int, int]) -> None:
    calls = [TaskCall((number,), priority=priority) for number, priority in priorities.items()]
    publish_many(NOTE, calls, app=app, queue=queue, ignore_result=True)


def _wait_for(ledger: Ledger, count: int) -> None:
    deadline = time.monotonic() + TIMEOUT
    while len(ledger.entries()) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {len(ledger.entries())} of {count} messages were worked on")
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
