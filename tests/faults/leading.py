"""Who leads after a blow, and whether a former leader still acts: ``python tests/faults/leading.py [--times N]``.

Two coordinators have, beside the duties of every coordinator, one that appends to a list of the cluster ten times a
second, through its term like any other: its token, and who it is. So the list has one order, whoever's clock is wrong.

- *killed*, *stopped*: SIGKILL or SIGSTOP of the leader; one that was stopped goes on when another one leads.
- *master killed*, *hung*, *stalled then killed*: the same of the master that has the lease; both coordinators live on.

The table: seconds from the blow until the next leader has acted (where the master is struck: the longest time without
an act), as median and maximum; how many times the term was *changed*; and what was *late*: acts of a leader after one
with a later token. The exit code is 1 when there was one.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

HERE = Path(__file__).parent
PATH = [str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, PATH))

import acting  # noqa: E402
from crew import Member  # noqa: E402
from faults import Fault, commit  # noqa: E402
from shard import Cluster, wait_until  # noqa: E402

from omx_tasks.cluster.embedded import EmbeddedCluster  # noqa: E402
from omx_tasks.coordination.registry import CoordinatorRecord, coordinators  # noqa: E402
from omx_tasks.store import keys  # noqa: E402
from omx_tasks.store.client import Store  # noqa: E402
from omx_tasks.store.topology import slot_of  # noqa: E402

WIDTH = 10


class Act(NamedTuple):
    """One act: with which token, by whom, when (Unix seconds)."""

    token: int
    pid: int
    at: float


@dataclass
class Stage:
    """Two coordinators on a cluster."""

    cluster: Cluster
    store: Store
    members: list[Member]
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def acts(self) -> list[Act]:
        """Return all acts in the order in which the cluster took them."""
        lines = self.store.command(acting.KEY, "LRANGE", acting.KEY, 0, -1)
        found = [line.decode().split() for line in lines]
        return [Act(int(token), int(pid), float(at)) for token, pid, at in found]

    def leader(self) -> CoordinatorRecord:
        """Wait until two take part and one leads; return that."""
        found: list[CoordinatorRecord] = []

        def leads() -> bool:
            found[:] = coordinators(self.store)
            return len(found) == len(self.members) and found[0].leads

        wait_until(leads)
        return found[0]

    def member(self, pid: int) -> Member:
        return next(member for member in self.members if member.pid == pid)

    def beside_lease(self) -> str:
        """Return a queue's name in the shard that has the lease."""
        place = self.store.topology.owner(slot_of(keys.lease()))
        names = (f"beside-{number}" for number in range(1000))
        return next(n for n in names if self.store.topology.owner(slot_of(keys.meta(n))) == place)


Strike = Callable[[Stage, CoordinatorRecord], Iterator[None]]


def killed(stage: Stage, leader: CoordinatorRecord) -> Iterator[None]:
    """Kill the leader; start it again when another one leads."""
    member = stage.member(leader.pid)
    member.kill()
    yield
    member.start()


def stopped(stage: Stage, leader: CoordinatorRecord) -> Iterator[None]:
    """Stop the leader; let it go on when another one leads."""
    os.kill(leader.pid, signal.SIGSTOP)
    yield
    os.kill(leader.pid, signal.SIGCONT)


def on_master(fault: Fault) -> Strike:
    """Return what strikes the shard of the lease."""

    def strike(stage: Stage, leader: CoordinatorRecord) -> Iterator[None]:
        with commit(fault, stage.cluster, stage.beside_lease()):
            yield

    return strike


SCENARIOS: dict[str, Strike] = {
    "leader killed": killed,
    "leader stopped": stopped,
    "master killed": on_master(Fault.MASTER_KILLED),
    "master hung": on_master(Fault.MASTER_HUNG),
    "replica stalled, then master killed": on_master(Fault.STALLED_THEN_KILLED),
}


@dataclass
class Course:
    """How the blows of one kind went."""

    seconds: list[float] = field(default_factory=list)
    others: int = 0
    late: int = 0


def suffer(stage: Stage, strike: Strike, times: int) -> Course:
    """Strike so many times."""
    course = Course()
    for _ in range(times):
        leader = stage.leader()
        time.sleep(stage.chance.random())  # at any moment between two renewals
        since = time.time()
        ours = strike is killed or strike is stopped
        with contextmanager(strike)(stage, leader):
            found = _next_act(stage, since, after=leader.token or 0 if ours else 0)
        after = stage.leader()
        course.others += after.token != leader.token
        # Whoever led has had the time to do its duty many times over, if it takes itself for the leader.
        last = time.time()
        wait_until(lambda at=last: _next_act(stage, at).at > at + 1.0)
        acts = stage.acts()
        course.seconds.append(found.at - since if ours else _longest_pause(acts, since))
        course.late = len(late(acts))
    stage.store.command(acting.KEY, "DEL", acting.KEY)
    return course


def _next_act(stage: Stage, since: float, after: int = 0) -> Act:
    """Wait for an act that was begun since then, with a later token than that."""
    found: list[Act] = []

    def acted() -> bool:
        found[:] = [act for act in stage.acts() if act.at > since and act.token > after]
        return bool(found)

    wait_until(acted)
    return found[-1] if not after else found[0]


def _longest_pause(acts: list[Act], since: float) -> float:
    times = [since, *(act.at for act in acts if act.at > since)]
    return max(b - a for a, b in itertools.pairwise(times))


def late(acts: list[Act]) -> list[Act]:
    """Return the acts that came after one with a later token."""
    latest, found = 0, []
    for act in acts:
        if act.token < latest:
            found.append(act)
        latest = max(latest, act.token)
    return found


@contextmanager
def staged(cluster: Cluster, folder: Path) -> Iterator[Stage]:
    """Start two coordinators on a cluster."""
    command = (sys.executable, str(HERE / "acting.py"))
    environ = {"OMX_BROKER_URL": cluster.url()}
    with ExitStack() as stack:
        store = Store(cluster.url())
        stack.callback(store.close)
        store.ping(5.0)
        members = []
        for number in range(2):
            name = f"acting{number}"
            log = folder / f"{name}.log"
            members.append(Member("acting", name, lambda: command, environ, log, acting.READY))
            stack.callback(members[-1].stop)
            members[-1].start()
        yield Stage(cluster, store, members)


def main() -> None:
    """Strike and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--node-timeout", type=int, default=2000, help="milliseconds")
    options = parser.parse_args()
    bad = False
    head = ("median", "max", "changed", "late")
    print(f"{'blow':<38}" + "".join(f"{word:>{WIDTH}}" for word in head), flush=True)
    with TemporaryDirectory(prefix="omx-leading-") as folder, ExitStack() as stack:
        cluster = EmbeddedCluster(Path(folder) / "nodes", node_timeout_ms=options.node_timeout)
        stack.callback(cluster.down, delete=True, timeout=2)
        cluster.up(bound=True)
        stage = stack.enter_context(staged(cluster, Path(folder)))
        for name, strike in SCENARIOS.items():
            course = suffer(stage, strike, options.times)
            median, most = statistics.median(course.seconds), max(course.seconds)
            cells = (f"{median:.2f} s", f"{most:.2f} s", course.others, course.late)
            print(f"{name:<38}" + "".join(f"{cell!s:>{WIDTH}}" for cell in cells), flush=True)
            bad |= course.late > 0
    sys.exit(bad)


if __name__ == "__main__":
    main()
