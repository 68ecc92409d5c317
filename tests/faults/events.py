"""Events through all that can die: ``python tests/faults/events.py [--events N] [--durability D] [--seed N]``.

Four publishers, of which two spill to disk what they cannot store, two coordinators and two more processes that handle;
all are started again when they die. Some events kill the process that handles them, or make its call fail, in the
middle of a batch. Meanwhile, spread over the load: leaders and handlers are killed, and stopped for longer than their
leases; twice a master is killed whose replica had been stopped for a moment, under large events; and everything is
restarted: publishers (one of each kind killed), handlers, coordinators, and the nodes as hard as the durability
promises to stand: one after the other, or with ``fsync`` all at once.

The table compares books that are kept outside of the cluster (see `event_books`): events that were *accepted*,
*handled*, *lost*; handled *twice* (each repetition counts), *out of order* among those of their key and priority,
parked as *dead* (those that no handler can take), *cut off* in the buffer of a publisher that was killed before it was
told that they are stored, *unsaid*: handled, though their publisher died before it could note them. The exit code is 1
when something was lost, came out of order, or is dead without a reason. With ``--durability memory`` the same shows
that the test can see a loss.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "ledger")]
PATH = [str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, PATH))

from crew import Member  # noqa: E402
from event_books import Verdict, handled, told  # noqa: E402
from event_crew import LOOK, PATIENCE, Crew, make_crew, supervised  # noqa: E402
from event_publisher import OFTEN  # noqa: E402
from faults import Fault, commit  # noqa: E402
from load import longest_gap  # noqa: E402
from shard import kill, wait_until  # noqa: E402

from omx_tasks.cluster.embedded import EmbeddedCluster  # noqa: E402
from omx_tasks.coordination.registry import CoordinatorRecord  # noqa: E402
from omx_tasks.durability import Durability  # noqa: E402
from omx_tasks.settings import Away  # noqa: E402

LEADER_KILLED, LEADER_STOPPED = "leader killed", "leader stopped"
HANDLER_KILLED, HANDLER_STOPPED = "handler killed", "handler stopped"
MASTER_KILLED, ALL_RESTARTED = "replica stalled, then master killed", "everything restarted"
#: The name of a blow, when it began (monotonic seconds), and how long it took.
Struck = tuple[str, float, float]
#: Seconds for which a leader and a handler are stopped: longer than the leases of both.
STOPPED = 12.0


class Blows:
    """What is done to a crew."""

    def __init__(self, crew: Crew, durability: str) -> None:
        self._crew, self._durability = crew, durability
        self._partition = 0

    def kill_leader(self) -> None:
        self._crew.leader(after=self._strike_leader(signal.SIGKILL).token or 0)

    def stop_leader(self) -> None:
        leader = self._strike_leader(signal.SIGSTOP)
        time.sleep(STOPPED)
        os.kill(leader.pid, signal.SIGCONT)

    def _strike_leader(self, number: int) -> CoordinatorRecord:
        """Send the leader a signal; one that an event has killed just now is no leader for long."""
        token = 0
        while True:
            leader = self._crew.leader(after=token)
            try:
                os.kill(leader.pid, number)
            except ProcessLookupError:
                token = leader.token or 0
            else:
                return leader

    def kill_handler(self) -> None:
        _send(self._crew.of("handler")[0], signal.SIGKILL)

    def stop_handler(self) -> None:
        handler = self._crew.of("handler")[1]
        _send(handler, signal.SIGSTOP)
        time.sleep(STOPPED)
        _send(handler, signal.SIGCONT)

    def stall_then_kill(self) -> None:
        """Kill a master after its replica had been stopped, both under events that outgrow what sockets hold."""
        place = self._crew.beside(self._partition)
        self._partition += 1
        self._all("publisher", signal.SIGUSR1)
        with commit(Fault.STALLED_THEN_KILLED, self._crew.cluster, place):
            self._all("publisher", signal.SIGUSR2)

    def restart_all(self) -> None:
        """Kill everybody, but for half of the publishers, which end in order; then restart the nodes."""
        for number, publisher in enumerate(self._crew.of("publisher")):
            publisher.send(signal.SIGTERM) if number % 2 else publisher.kill()
        for kind in ("handler", "coordinator"):
            for member in self._crew.of(kind):
                _send(member, signal.SIGKILL)
        if self._durability == Durability.FSYNC:
            kill(*self._crew.cluster.status().nodes)
            self._crew.cluster.up(bound=True)
            return
        for node in self._crew.cluster.status().nodes:
            kill(node)
            wait_until(lambda one=node: not self._serves(one.port))
            self._crew.cluster.up(bound=True)

    def _serves(self, port: int) -> bool:
        """Whether all that a node had is still its own, as others see it."""
        nodes = self._crew.cluster.status().nodes
        return sum(node.slots for node in nodes if node.port != port) < 16384

    def _all(self, kind: str, number: int) -> None:
        for member in self._crew.of(kind):
            if member.alive:
                member.send(number)

    def named(self) -> dict[str, Callable[[], None]]:
        return {
            LEADER_KILLED: self.kill_leader,
            LEADER_STOPPED: self.stop_leader,
            HANDLER_KILLED: self.kill_handler,
            HANDLER_STOPPED: self.stop_handler,
            MASTER_KILLED: self.stall_then_kill,
            ALL_RESTARTED: self.restart_all,
        }


def _send(member: Member, number: int) -> None:
    """Send a signal to one that may have died of an event just now."""
    with suppress(ProcessLookupError):
        member.send_all(number)


@dataclass(frozen=True)
class Load:
    """How much there is to do, on what, and what befalls it, in this order and spread over it.

    ``each``: how many coordinators there are, and how many other handlers; ``often``: how many times as often as usual
    calls fail.
    """

    events: int = 200_000
    rate: float = 2000
    durability: str = Durability.REPLICA
    seed: int = 7
    server: str | None = None
    node_timeout: int = 2000
    each: int = 2
    often: int = 1
    blows: Sequence[str] = (
        LEADER_KILLED,
        HANDLER_KILLED,
        MASTER_KILLED,
        HANDLER_STOPPED,
        LEADER_KILLED,
        ALL_RESTARTED,
        LEADER_STOPPED,
        MASTER_KILLED,
        LEADER_KILLED,
    )


def main() -> None:
    """Strike, wait, compare, print."""
    options = vars(_options())
    given = options.pop("folder")
    load = Load(**options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended early"))  # nothing is left behind
    with TemporaryDirectory(prefix="omx-events-") as temporary:
        folder = given or Path(temporary)
        began = time.monotonic()
        verdict = suffer(folder, load)
        _print(verdict, time.monotonic() - began)
    sys.exit(bool(verdict.wrong))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=Load.events)
    parser.add_argument("--rate", type=float, default=Load.rate, help="events a second, at most")
    parser.add_argument("--durability", default=Load.durability, choices=list(Durability))
    parser.add_argument("--seed", type=int, default=Load.seed)
    parser.add_argument("--server", help="the server program, as redis-server; default: Valkey")
    parser.add_argument("--node-timeout", type=int, default=Load.node_timeout, help="milliseconds")
    parser.add_argument("--folder", type=Path, help="where to leave logs and books")
    return parser.parse_args()


def suffer(folder: Path, load: Load) -> Verdict:
    """Let everything happen to a cluster under a load of events."""
    with ExitStack() as stack:
        cluster = EmbeddedCluster(
            folder / "cluster", node_timeout_ms=load.node_timeout, server=load.server
        )
        stack.callback(cluster.down, delete=True, timeout=2)
        cluster.up(bound=True)
        crew = make_crew(
            cluster,
            folder,
            stack,
            kinds=[Away.BLOCK, Away.SPILL] * load.each,
            each=load.each,
            rate=load.rate,
            seed=load.seed,
            environ={"OMX_DURABILITY": load.durability, OFTEN: str(load.often)},
        )
        with supervised(crew.members):
            struck: list[Struck] = []
            known = Blows(crew, load.durability).named()
            for number, name in enumerate(load.blows, 1):
                reach(crew, load.events * number // (len(load.blows) + 1))
                struck.append((name, *_deal(known[name])))
            reach(crew, load.events)
            crew.end_publishers()
            verdict = crew.settle()
        _gaps(crew, struck)
        return verdict


def reach(crew: Crew, count: int) -> None:
    """Wait until about so many events were accepted."""
    until = time.monotonic() + 20 * PATIENCE
    while told(crew.books) < count:
        assert time.monotonic() < until, "publishers are too slow"
        time.sleep(LOOK)


def _deal(strike: Callable[[], None]) -> tuple[float, float]:
    """Strike; return when that began, and how long it took."""
    since = time.monotonic()
    strike()
    return since, time.monotonic() - since


def _gaps(crew: Crew, struck: list[Struck]) -> None:
    """Print for how long nothing was handled after each blow."""
    moments = [one.at for one in handled(crew.books)]
    for (name, since, seconds), following in itertools.zip_longest(struck, struck[1:]):
        end = following[1] if following else since + 30.0
        gap = longest_gap(since, (at for at in moments if since < at < end))
        print(f"{name:<38}{seconds:6.1f} s, nothing handled for {gap:5.2f} s at most", flush=True)


def _print(verdict: Verdict, seconds: float) -> None:
    cells = verdict.cells()
    print("\n" + "".join(f"{name.replace('_', ' '):>14}" for name in (*cells, "seconds")))
    print("".join(f"{value:>14,}" for value in cells.values()) + f"{seconds:>14.0f}")
    print("\n".join(f"WRONG: {what}" for what in verdict.wrong) or "all is well", flush=True)


if __name__ == "__main__":
    main()
