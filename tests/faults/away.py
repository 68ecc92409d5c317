"""What publishers of events see while the whole cluster is away: ``python tests/faults/away.py [--seconds 30]``.

One publisher for each way of ``OMX_EVENTS_AWAY``, with all else as it is by default, under load the whole time. The
cluster is *down* (all nodes end in order, as a power cut with ``fsync`` would leave them, and start again), or *hung*
(all nodes are stopped, connections stay open), for so many seconds.

The table, for each publisher: events that were *accepted* and *handled*, *lost*, handled *twice* or *out of order*;
*refused* ones, those that were *spilled* to disk, and the *longest* time that one publish took. The exit code is 1 when
something was lost or came out of order.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "ledger")]
PATH = [str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, PATH))

from event_books import Published, Verdict  # noqa: E402
from event_crew import make_crew, supervised  # noqa: E402
from shard import stalled  # noqa: E402

from omx_tasks.cluster.embedded import EmbeddedCluster  # noqa: E402
from omx_tasks.settings import Away  # noqa: E402

COLUMNS = (
    "accepted", "handled", "lost", "twice", "disorder", "refused", "spilled", "longest",
)  # fmt: skip
WIDTH = 10
#: Seconds of load before and after.
AROUND = 5.0


@dataclass(frozen=True)
class Seen:
    """What one publisher saw, and what became of its events."""

    told: Published
    verdict: Verdict

    def line(self) -> str:
        verdict, told = self.verdict, self.told
        cells = (
            verdict.accepted, verdict.handled, verdict.lost, verdict.twice, verdict.out_of_order,
            told.refused, told.said["spilled"], f"{told.waited:.2f} s",
        )  # fmt: skip
        return "".join(f"{cell!s:>{WIDTH}}" for cell in cells)


def down(cluster: EmbeddedCluster, seconds: float) -> None:
    """End all nodes in order, and start them again."""
    cluster.down()
    time.sleep(seconds)
    cluster.up(bound=True)


def hung(cluster: EmbeddedCluster, seconds: float) -> None:
    """Stop all nodes, and let them go on."""
    with stalled(*cluster.status().nodes):
        time.sleep(seconds)


WAYS: dict[str, Callable[[EmbeddedCluster, float], None]] = {"down": down, "hung": hung}


def suffer(folder: Path, way: str, seconds: float, rate: float) -> dict[Away, Seen]:
    """Take the cluster away from publishers of each kind."""
    with ExitStack() as stack:
        cluster = EmbeddedCluster(folder / "cluster")
        stack.callback(cluster.down, delete=True, timeout=2)
        cluster.up(bound=True)
        crew = make_crew(
            cluster,
            folder,
            stack,
            kinds=list(Away),
            rate=rate * len(Away),
            seed=7,
            environ={},
        )
        with supervised(crew.members):
            time.sleep(AROUND)
            WAYS[way](cluster, seconds)
            time.sleep(AROUND)
            crew.end_publishers()
            return {kind: Seen(crew.published(kind), crew.settle(kind)) for kind in Away}


def main() -> None:
    """Take the cluster away in each way, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ways", nargs="*", default=list(WAYS), metavar="WAY")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, default=500, help="events a second of a publisher")
    parser.add_argument("--folder", type=Path, help="where to leave logs and books")
    options = parser.parse_args()
    print(f"{'cluster':<10}{'publisher':<10}" + "".join(f"{name:>{WIDTH}}" for name in COLUMNS))
    wrong: list[str] = []
    for way in options.ways:
        with TemporaryDirectory(prefix="omx-away-") as temporary:
            folder = (options.folder or Path(temporary)) / way
            for kind, seen in suffer(folder, way, options.seconds, options.rate).items():
                print(f"{way:<10}{kind:<10}{seen.line()}", flush=True)
                wrong += seen.verdict.wrong
    print("\n".join(f"WRONG: {what}" for what in wrong) or "all is well", flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
