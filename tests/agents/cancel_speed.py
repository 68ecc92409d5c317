"""How soon calls are cut off when their run is cancelled: ``python tests/agents/cancel_speed.py [--calls N]``.

Prints seconds from `Run.cancel` until the server noted the last of so many ``notifications/cancelled``, and until the
agent's slots were free: the outcomes of all calls are stored then. With ``--untold`` the agent is not told and finds
out by itself.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from fleet import Fleet

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.results import joins
from omx_tasks.runs.cancel import wait_until_settled
from omx_tasks.store.client import Store


def _until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def main() -> None:
    """Measure on a cluster and an agent of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--untold", action="store_true", help="The broadcast is lost.")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="omx-cancel-") as folder:
        cluster = EmbeddedCluster(Path(folder) / "cluster")
        cluster.up(bound=True)
        store = Store(cluster.url())
        fleet = Fleet(Path(folder), cluster.url(), store, _until)
        try:
            fleet.start(slots=options.calls)
            print(f"{'state':>8}{'notified':>10}{'free':>8}   seconds")
            for number in range(options.times):
                print("".join(f"{seconds:>9.3f}" for seconds in _measured(fleet, number, options)))
        finally:
            fleet.stop()
            store.close()
            cluster.down(delete=True)


def _measured(fleet: Fleet, number: int, options: argparse.Namespace) -> tuple[float, float, float]:
    names = [f"r{number}_{n}" for n in range(options.calls)]
    run = fleet.submit(*(fleet.call(name, arguments={"seconds": 60}) for name in names))
    _until(lambda: all(fleet.executions()[f"read {name}"] for name in names), 30)
    began = time.perf_counter()
    if options.untold:
        fleet.store.run(joins.cancel(run.id))
    else:
        run.cancel()
    cancelled = time.perf_counter() - began
    _until(lambda: all(fleet.executions()[f"cancelled {name}"] for name in names), 30)
    notified = time.perf_counter() - began
    assert wait_until_settled(fleet.store, run.id, 30)
    return cancelled, notified, time.perf_counter() - began


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parents[2]))
    main()
