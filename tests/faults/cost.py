"""What it costs to have writes confirmed: ``python tests/faults/cost.py [--pairs N] [--messages N] [--trips N]``.

One cluster, one worker; each figure is taken with ``memory`` and with ``replica`` in turn, and the ratio is that of two
figures taken one after the other. *hop*: from the end of an operation to the beginning of the one that needs it, in
chains that an agent works off.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "agents")]
PATH = [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, PATH))

from fleet import Fleet, one  # noqa: E402
from shard import wait_until  # noqa: E402

from omx_tasks.bench import loads  # noqa: E402
from omx_tasks.bench.app import CONFIGURATION, TALLY  # noqa: E402
from omx_tasks.bench.sides import Side, our_side  # noqa: E402
from omx_tasks.bench.tally import Tally  # noqa: E402
from omx_tasks.bench.worker import Worker  # noqa: E402
from omx_tasks.store.client import Store  # noqa: E402

MODES = ("memory", "replica")
FIGURES = {
    "publish_single": "published one by one, a second",
    "publish_batch": "published in batches, a second",
    "round_trip_p50": "round trip, ms, p50",
    "round_trip_p99": "round trip, ms, p99",
    "hop_p50": "hop in a chain, ms, p50",
}
CHAIN = 60


def main() -> None:
    """Measure and print medians."""
    options = _options()
    seen: dict[str, dict[str, list[float]]] = {mode: defaultdict(list) for mode in MODES}
    with TemporaryDirectory(prefix="omx-cost-") as name, our_side(Path(name) / "c") as side:
        for number in range(options.pairs):
            for mode in MODES if number % 2 == 0 else MODES[::-1]:
                taken = _sample(Path(name), _asked(side, mode), f"{mode}-{number}", options)
                for figure, value in taken.items():
                    seen[mode][figure].append(value)
    for figure, words in FIGURES.items():
        memory, replica = (seen[mode][figure] for mode in MODES)
        ratios = [b / a for a, b in zip(memory, replica, strict=True)]
        print(
            f"{words:<36} memory {statistics.median(memory):9.2f}   replica "
            f"{statistics.median(replica):9.2f}   ratio {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f})"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--trips", type=int, default=300)
    return parser.parse_args()


def _asked(side: Side, mode: str) -> Side:
    settings = dict(side.settings)
    options = settings["broker_transport_options"]
    settings["broker_transport_options"] = {**options, "durability": mode}
    settings["result_backend_transport_options"] = {"durability": mode}
    return replace(side, name=mode, settings=settings)


def _sample(folder: Path, side: Side, name: str, options: argparse.Namespace) -> dict[str, float]:
    with _worker(folder, side, name), loads.calling(side, name) as round_trip:
        seconds = [round_trip() for _ in range(options.trips)]
    return {
        "publish_single": loads.publish_singly(side, f"{name}-single", options.messages),
        "publish_batch": loads.publish_in_batches(
            side, f"{name}-batch", options.messages * 3, results=False
        ),
        "round_trip_p50": loads.percentile(seconds, 50) * 1000,
        "round_trip_p99": loads.percentile(seconds, 99) * 1000,
        "hop_p50": _hop(folder / name, side) * 1000,
    }


@contextmanager
def _worker(folder: Path, side: Side, name: str) -> Iterator[Worker]:
    tally = Tally.create(folder / f"{name}.tally")
    worker = Worker(
        name=name,
        app="omx_tasks.bench.app",
        options=("-P", "threads", "-c", "8", "-Q", name),
        environ={CONFIGURATION: json.dumps(side.settings), TALLY: str(tally.path)},
        log=folder / f"{name}.log",
    )
    try:
        yield worker.start().wait_until_ready()
    finally:
        worker.kill()


def _hop(folder: Path, side: Side) -> float:
    """Return the middle one of the times between two calls of a chain, in seconds."""
    folder.mkdir()
    os.environ["OMX_DURABILITY"] = side.name
    with ExitStack() as stack:
        store = Store(side.settings["broker_url"])
        stack.callback(store.close)
        fleet = Fleet(folder, side.settings["broker_url"], store, wait_until)
        stack.callback(fleet.stop)
        fleet.start()
        names = [f"n{number}" for number in range(CHAIN)]
        steps = [
            fleet.call(name, needs=names[max(0, number - 1) : number])
            for number, name in enumerate(names)
        ]
        fleet.run(*steps)
        view = fleet.run(*steps)
    calls = [one(view, name) for name in names]
    hops = [
        b.started - a.finished
        for a, b in itertools.pairwise(calls)
        if a.finished is not None and b.started is not None
    ]
    return statistics.median(hops)


if __name__ == "__main__":
    main()
