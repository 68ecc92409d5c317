"""The kill ledger at full length: ``python tests/ledger/run.py [--messages N] [--kills N] [--drains N] [--stock]``.

Publishes numbered messages while workers are killed with all their processes, and drained. Prints what a ledger
outside of the cluster says at the end. With ``--stock`` the same storm goes over stock Celery on one Redis, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from celery import Celery
from ledger_app import LATE, NOTE
from ledger_file import Ledger
from ledger_workers import ledger_worker
from storm import Outcome, Publish, Storm

from omx_tasks.bench.sides import Side, our_side, stock_side
from omx_tasks.bench.worker import Worker

QUEUE = "ledger"
LEASE = 2.0
#: Seconds for a warm shutdown; Celery's prefork pool may wait half a minute for a child that waits for it.
GRACE = 5.0
KINDS = ("prefork", "threads", "prefork")


class Process:
    """A worker process as a storm's victim."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.is_ready = worker.is_ready

    def crash(self) -> None:
        """Kill it with all its processes, and start it again."""
        self._worker.kill()
        self._worker.start()

    def drain(self) -> bool:
        """Shut it down warmly, and start it again."""
        self._worker.terminate()
        ended = self._worker.wait_until_ended(GRACE)
        self._worker.kill()
        self._worker.start()
        return ended


def main() -> None:
    """Run the storm and print its outcome; the exit code is 1 when ours lost a message."""
    options = _options()
    with TemporaryDirectory(prefix="omx-ledger-") as name:
        folder = Path(name)
        with our_side(folder / "ours", lease=round(LEASE * 1000)) as side:
            ours = _rage(folder, side, options)
        print("ours: ", ours, flush=True)
        if options.stock:
            with stock_side(folder / "stock", visibility_timeout=LEASE) as side:
                print("stock:", _rage(folder, side, options))
    sys.exit(1 if ours.lost else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--drains", type=int, default=10)
    parser.add_argument("--stock", action="store_true", help="stock Celery on one Redis, too")
    return parser.parse_args()


def _rage(folder: Path, side: Side, options: argparse.Namespace) -> Outcome:
    ledger = Ledger(folder / f"{side.name}.ledger")
    with ExitStack() as stack:
        app = stack.enter_context(Celery("storm", set_as_current=False))
        app.conf.update({**side.settings, **LATE, "result_backend": None})
        workers = [
            ledger_worker(folder, f"{side.name}-{number}", kind, side.settings, ledger.path, QUEUE)
            for number, kind in enumerate(KINDS)
        ]
        for worker in workers:
            stack.callback(worker.stop)
            worker.start()
        victims = [Process(worker.wait_until_ready()) for worker in workers]
        storm = Storm(
            ledger,
            _publisher(app),
            victims,
            messages=options.messages,
            kills=options.kills,
            drains=options.drains,
            patience=15 * LEASE,
        )
        return storm.rage()


def _publisher(app: Celery) -> Publish:
    def publish(numbers: Sequence[int]) -> None:
        with app.producer_or_acquire() as producer, producer.batch():
            for number in numbers:
                app.send_task(NOTE, (number,), queue=QUEUE, producer=producer, ignore_result=True)

    return publish


if __name__ == "__main__":
    main()
