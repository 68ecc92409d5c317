"""A mixed load and a random fault every so often: ``python tests/faults/endurance.py --minutes 30 --seed 7``.

Publishers (one by one, in batches, delayed, all priorities, results read back; one queue has partitions), graphs
(chains, joins, foreach), two agents, two workers and a coordinator go on while nodes and they themselves are struck.
Books are kept outside of the cluster. When all is over, everything that was acknowledged has to be done, no run may
hang, and keys, connections, descriptors and threads have to be back where they were after the first seconds of load.
The exit code is 1 when something was lost, hangs or leaks. Nodes are in network namespaces of their own where that is
possible (root), so that links can be cut as well; with ``--embedded`` shards join and leave instead.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "ledger")]
PATH = [str(HERE.parents[1]), str(HERE.parent / "ledger"), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, PATH))

from blows import blows, drawn  # noqa: E402
from faults import NotHereError  # noqa: E402
from scene import Scene, Struck  # noqa: E402
from staging import staged  # noqa: E402
from verdict import verdict  # noqa: E402

#: Seconds of load before what there is counts as the start's level.
WARM = 15.0


def main() -> None:
    """Load, strike, wait, compare, print."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended early"))  # nothing is left behind
    with TemporaryDirectory(prefix="omx-endurance-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        wrong = _endure(folder, options)
    print("\n" + ("\n".join(f"WRONG: {what}" for what in wrong) or "all is well"), flush=True)
    sys.exit(bool(wrong))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--every", type=float, default=20, help="seconds between two faults")
    parser.add_argument("--rate", type=float, default=240, help="messages a second")
    parser.add_argument("--graphs", type=float, default=2, help="graphs a second")
    parser.add_argument("--durability", default="replica")
    parser.add_argument("--server", help="the server program, as redis-server; default: Valkey")
    parser.add_argument("--embedded", action="store_true", help="no links cut, but shards added")
    parser.add_argument("--node-timeout", type=int, default=2000, help="milliseconds")
    parser.add_argument("--folder", type=Path, help="where to leave logs and books")
    return parser.parse_args()


def _endure(folder: Path, options: argparse.Namespace) -> list[str]:
    with ExitStack() as stack:
        scene = staged(folder, options, stack)
        time.sleep(WARM)
        scene.rest()
        scene.settle()
        before = scene.quiet()
        scene.measure()
        scene.go_on()
        print(
            f"began with {sum(before.keys.values())} keys, {sum(before.clients.values())} connections",
            flush=True,
        )
        _strike(scene, options)
        scene.rest()
        scene.settle()
        after = scene.quiet(before)
        scene.measure()
        return verdict(scene, before, after)


def _strike(scene: Scene, options: argparse.Namespace) -> None:
    """Deal blows until the time is over."""
    began = time.monotonic()
    end = began + options.minutes * 60
    half = began + options.minutes * 30
    order = drawn(blows(scene.cluster, scene.queues, scene.crew), options.seed)
    for due in itertools.count(began + options.every / 2, options.every):
        if due >= end:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        if due >= half > 0:
            scene.measure()
            half = 0.0
        blow, target = next(order)
        since = time.monotonic()
        print(f"{since - began:7.1f} s  {blow.name:<34} {target:<14}", end="", flush=True)
        try:
            blow.strike(target)
        except NotHereError as error:
            print(f" {error}", flush=True)
            continue
        one = Struck(blow.name, target, since, time.monotonic() - since)
        scene.struck.append(one)
        print(f" {one.seconds:5.1f} s", flush=True)
    time.sleep(max(0.0, end - time.monotonic()))


if __name__ == "__main__":
    main()
