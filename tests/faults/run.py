"""Every fault under a load: ``python tests/faults/run.py [--messages N] [--graphs N] [--partitions N] [FAULT…]``.

For each fault a cluster of its own, producers and workers, agents and a coordinator, none of which is restarted. The
table holds two books side by side, both kept outside of the cluster: what producers were told is stored, and what
workers did: *acked*, *lost* (acknowledged and never worked on), worked on *twice*, *refused*; seconds for which nothing
was acknowledged (*outage*) and nothing worked on (*gap*) in the shard that was struck; *left* in queues, workers that
*died*. Then the graphs whose submission was acknowledged, and calls that were made *twice*. The exit code is 1 when
something was lost or is left over. With ``--durability memory`` the same shows that the test can see a loss.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "ledger"), str(HERE.parent / "agents")]
PATH = [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, PATH))

from faults import PADDING, Fault, NotHereError, cluster_for, commit  # noqa: E402
from graphs import Ended, running  # noqa: E402
from load import Load, Outcome, loaded  # noqa: E402

COLUMNS = (
    "acked", "lost", "twice", "refused", "outage", "gap", "left", "died",
    "graphs", "done", "stuck", "refused", "twice",
)  # fmt: skip
WIDTH = 9
#: How much of the load comes before the fault.
BEFORE = 0.25


def main() -> None:
    """Commit the faults and print the table."""
    options = _options()
    print(f"{'fault':<36}" + "".join(f"{name:>{WIDTH}}" for name in COLUMNS), flush=True)
    bad = False
    for fault in options.faults:
        with TemporaryDirectory(prefix="omx-faults-") as folder:
            try:
                outcome, ended = _suffer(fault, Path(folder), options)
            except NotHereError as error:
                print(f"{fault.value:<36} {error}", flush=True)
                continue
        print(_line(fault, outcome, ended), flush=True)
        for reason in (*outcome.reasons, *ended.reasons):
            print(f"    {reason}", flush=True)
        bad |= bool(outcome.lost or outcome.left or outcome.restarted or ended.stuck)
    sys.exit(bad)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", type=_fault, default=list(Fault), metavar="FAULT")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--graphs", type=int, default=50)
    parser.add_argument("--durability", default="replica")
    parser.add_argument("--partitions", type=int, default=1, help="of each queue of messages")
    parser.add_argument("--server", help="the server program, as redis-server; default: Valkey")
    parser.add_argument("--node-timeout", type=int, default=2000, help="milliseconds")
    return parser.parse_args()


def _fault(name: str) -> Fault:
    return Fault[name.upper().replace("-", "_")]


def _suffer(fault: Fault, folder: Path, options: argparse.Namespace) -> tuple[Outcome, Ended]:
    """Let one fault happen amid a load; returns what became of messages and graphs."""
    cluster = cluster_for(fault, folder / "cluster", options.node_timeout, options.server)
    with ExitStack() as stack:
        stack.callback(cluster.down, delete=True, timeout=2)
        cluster.up(bound=True)
        graphs = stack.enter_context(
            running(cluster.url(), folder / "graphs", options.graphs, 0.2, options.durability)
        )
        load = stack.enter_context(
            loaded(
                cluster,
                folder / "load",
                pause=0.001,
                padding=PADDING.get(fault, 0),
                durability=options.durability,
                partitions=options.partitions,
            )
        )
        total = options.messages // 8 if fault in PADDING else options.messages
        _reach(load, round(total * BEFORE))
        since = time.monotonic()
        with commit(fault, cluster, load.struck):
            pass
        load.grow(100)
        _reach(load, total)
        return load.finish(since), graphs.finish()


def _reach(load: Load, total: int) -> None:
    deadline = time.monotonic() + 120
    while load.acknowledged < total:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {load.acknowledged} of {total} messages were published")
        time.sleep(0.05)


def _line(fault: Fault, outcome: Outcome, ended: Ended) -> str:
    cells = (
        outcome.acknowledged, outcome.lost, outcome.duplicated, outcome.refused,
        f"{outcome.outage:.1f} s", f"{outcome.gap:.1f} s", outcome.left, outcome.restarted,
        ended.submitted, ended.succeeded, ended.stuck, ended.refused, ended.calls_twice,
    )  # fmt: skip
    return f"{fault.value:<36}" + "".join(f"{cell!s:>{WIDTH}}" for cell in cells)


if __name__ == "__main__":
    main()
