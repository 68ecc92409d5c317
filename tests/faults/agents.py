"""What becomes of operations when agents, servers and producers die: ``python tests/faults/agents.py [--help]``.

Each scenario has a cluster, agents and a coordinator of its own. The server is a ledger that notes, in files outside of
the cluster, each call that it begins and each that it is about to answer. Half of the calls are writes, of which each
follows a read; reads follow reads, so what is unknown holds nothing up. Each write has a resource of its own, and its
turn at once.

- *agents killed*: a random agent is killed (SIGKILL) every two seconds, and another one started for it;
  not while half of them are starting.
- *server killed*, *server stopped*: SIGKILL or SIGSTOP of the server of the only agent in the middle of a batch.
- *producer killed*: the process that submitted the graph is killed as soon as that is done.

The table: operations by state; writes done *twice*; *missing*, which are neither in the ledger nor unknown; unknown
ones that the ledger shows *cut* off, those that it has answered though nobody had that stored (*unsaid*), and those
that it had not read when it was stopped or died (*unheard*); *wrong*, which are neither reads that succeeded nor writes
that did or are unknown; seconds of the run, and those from the (first) strike until an operation ended that began after
it (*recovered*). The exit code is 1 when something was done twice, is missing or wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "ledger"), str(HERE.parent / "agents")]

import psutil  # noqa: E402
from fleet import Agent, Fleet, one, states  # noqa: E402
from graphs import LEASE, OVERDUE  # noqa: E402
from shard import wait_until  # noqa: E402

from omx_tasks.api import Run  # noqa: E402
from omx_tasks.cluster.embedded import EmbeddedCluster  # noqa: E402
from omx_tasks.graph.model import Graph, Operation  # noqa: E402
from omx_tasks.priorities import Priority  # noqa: E402
from omx_tasks.runs.view import RunView  # noqa: E402
from omx_tasks.store.client import Store  # noqa: E402

COLUMNS = (
    "succeeded", "failed", "unknown", "skipped", "strikes", "twice", "missing", "cut", "unsaid",
    "unheard", "wrong", "run", "recovered",
)  # fmt: skip
WIDTH = 10
#: Threads that start agents, one of which waits for the run.
STARTERS = 3
#: Operations of a layer: each layer has as many reads as writes.
LAYER = 50

SUBMIT = """
import sys, time
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan
from omx_tasks.runs.submit import submit
from omx_tasks.store.client import Store
store = Store(sys.argv[1])
print(submit(store, compile_plan(Graph.load(sys.argv[2])), {}, keep=600), flush=True)
time.sleep(3600)
"""


@dataclass(frozen=True)
class Load:
    """How much is done: operations, seconds that each takes, how long one may take, slots of an agent."""

    operations: int = 500
    seconds: float = 1.0
    timeout: float = 10.0
    slots: int = 4
    agents: int = 6
    every: float = 2.0


@dataclass
class Scene:
    """A fleet under load, and what was done to it when (Unix seconds)."""

    fleet: Fleet
    load: Load
    strikes: list[float] = field(default_factory=list)

    def graph(self) -> Graph:
        """Make the graph: layers of reads, each with the writes that follow the layer before."""
        call, made = self.fleet.call, list[Operation]()
        keys = {"seconds": self.load.seconds}
        for number in range(self.load.operations // 2):
            needs = [f"r{number - LAYER // 2}"] if number >= LAYER // 2 else []
            fields = {"timeout": self.load.timeout, "arguments": keys}
            early = Priority.P1 if number % 2 else Priority.P2  # or all writes would come last
            made += (
                call(f"r{number}", needs=needs, **fields),
                call(f"w{number}", "write", needs, priority=early, **fields),
            )
        return Graph(name="strikes", operations=made)

    def strike(self, pid: int, sign: signal.Signals) -> None:
        """Send a signal, and note when."""
        self.strikes.append(time.time())
        os.kill(pid, sign)

    def server_of(self, agent: Agent) -> int:
        """Return the process id of an agent's server."""
        (server,) = psutil.Process(agent.process.pid).children()
        return server.pid

    def busy(self) -> None:
        """Wait until the ledger has begun a fifth of all calls."""
        wait_until(lambda: sum(self.fleet.executions().values()) > self.load.operations // 5)


@dataclass(frozen=True)
class Result:
    """What became of the operations."""

    states: Counter[str]
    strikes: int
    twice: int
    missing: int
    cut: int
    unsaid: int
    unheard: int
    wrong: int
    run: float
    recovered: float

    @property
    def bad(self) -> bool:
        """Whether a promise was broken."""
        return bool(self.twice or self.missing or self.wrong)

    def line(self) -> str:
        """Return the cells of the table."""
        counts = [self.states[state] for state in COLUMNS[:4]]
        cells = (
            *counts, self.strikes, self.twice, self.missing, self.cut, self.unsaid, self.unheard,
            self.wrong, f"{self.run:.1f} s", f"{self.recovered:.1f} s",
        )  # fmt: skip
        return "".join(f"{cell!s:>{WIDTH}}" for cell in cells)


Strike = Callable[[Scene], RunView]


def agents_killed(scene: Scene) -> RunView:
    """Kill a random agent again and again while a graph runs."""
    chance = random.Random(7)
    with ThreadPoolExecutor(STARTERS) as starters:

        def begin() -> Future[Agent]:
            return starters.submit(scene.fleet.start, scene.load.slots, lease=LEASE)

        agents = [begin() for _ in range(scene.load.agents)]
        wait(agents)
        run = scene.fleet.submit(*scene.graph().operations)
        ended = starters.submit(run.wait, 300)
        while not wait((ended,), scene.load.every).done:
            ready = [agent for agent in agents if agent.done()]
            if 2 * len(ready) > len(agents):  # else those that start would die, and nobody work
                victim = chance.choice(ready)
                scene.strike(victim.result().process.pid, signal.SIGKILL)
                victim.result().process.wait(60)
                agents.remove(victim)
                agents.append(begin())
        return ended.result()


def server_killed(scene: Scene) -> RunView:
    """Kill the server of the only agent."""
    return _server(scene, signal.SIGKILL)


def server_stopped(scene: Scene) -> RunView:
    """Stop the server of the only agent, which then answers nobody."""
    return _server(scene, signal.SIGSTOP)


def _server(scene: Scene, sign: signal.Signals) -> RunView:
    agent = scene.fleet.start(4 * scene.load.slots, lease=LEASE)
    run = scene.fleet.submit(*scene.graph().operations)
    scene.busy()
    scene.strike(scene.server_of(agent), sign)
    return run.wait(300)


def producer_killed(scene: Scene) -> RunView:
    """Kill the process that submitted a graph."""
    scene.fleet.start(4 * scene.load.slots, lease=LEASE)
    path = scene.fleet.folder / "graph.json"
    path.write_text(json.dumps(scene.graph().to_data()))
    command = [sys.executable, "-c", SUBMIT, scene.fleet.url, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as producer:
        assert producer.stdout is not None
        run_id = producer.stdout.readline().strip()
        scene.strike(producer.pid, signal.SIGKILL)
    return Run(run_id, scene.fleet.store).wait(300)


SCENARIOS: dict[str, Strike] = {
    "agents killed": agents_killed,
    "server killed": server_killed,
    "server stopped": server_stopped,
    "producer killed": producer_killed,
}


def suffer(strike: Strike, url: str, folder: Path, load: Load) -> Result:
    """Let one scenario happen on a cluster; returns what the ledger and the run say."""
    with _scene(url, folder, load) as scene:
        return _judge(scene, strike(scene))


@contextmanager
def _scene(url: str, folder: Path, load: Load) -> Iterator[Scene]:
    folder.mkdir(parents=True)
    store = Store(url, timeout=15.0)
    fleet = Fleet(folder, url, store, wait_until, hints={"resource": "key"})
    environ = {**os.environ, "OMX_BROKER_URL": url, "OMX_OVERDUE": str(OVERDUE)}
    with (folder / "coordinator.log").open("wb") as log:
        coordinator = subprocess.Popen(
            [sys.executable, "-m", "workers.coordinator"], env=environ, stdout=log, stderr=log
        )
    try:
        yield Scene(fleet, load)
    finally:
        fleet.stop()
        coordinator.send_signal(signal.SIGTERM)
        coordinator.wait(60)
        store.close()


def _judge(scene: Scene, view: RunView) -> Result:
    begun, answered, seen = scene.fleet.executions(), scene.fleet.answered(), states(view)
    writes = {name: f"write {name}" for name in seen if name.startswith("w")}
    unknown = [writes[name] for name in writes if seen[name] == "unknown"]
    done = [writes[name] for name in writes if seen[name] == "succeeded"]
    first = scene.strikes[0] if scene.strikes else view.created
    after = [
        end
        for name in seen
        if (end := one(view, name).finished) and (one(view, name).started or 0) > first
    ]
    return Result(
        Counter(seen.values()),
        len(scene.strikes),
        twice=sum(begun[write] > 1 for write in writes.values()),
        missing=sum(not answered[write] for write in done),
        cut=sum(begun[write] > answered[write] for write in unknown),
        unsaid=sum(begun[write] == answered[write] == 1 for write in unknown),
        unheard=sum(not begun[write] for write in unknown),
        wrong=sum(
            state != "succeeded" and not (name in writes and state == "unknown")
            for name, state in seen.items()
        ),
        run=view.seconds,
        recovered=min(after, default=first) - first,
    )


def main() -> None:
    """Let the scenarios happen and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scenarios", nargs="*", default=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--operations", type=int, default=Load.operations)
    parser.add_argument("--seconds", type=float, default=Load.seconds, help="of each call")
    parser.add_argument("--timeout", type=float, default=Load.timeout, help="of each call")
    parser.add_argument("--slots", type=int, default=Load.slots, help="of an agent")
    parser.add_argument("--agents", type=int, default=Load.agents)
    parser.add_argument("--every", type=float, default=Load.every, help="seconds from kill to kill")
    options = vars(parser.parse_args())
    chosen = options.pop("scenarios")
    if unknown := set(chosen) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}")
    load = Load(**options)
    print(f"{'':<16}" + "".join(f"{name:>{WIDTH}}" for name in COLUMNS), flush=True)
    bad = False
    with TemporaryDirectory(prefix="omx-agents-") as folder:
        cluster = EmbeddedCluster(Path(folder) / "cluster")
        cluster.up(bound=True)
        try:
            for title in chosen:
                place = Path(folder) / title.replace(" ", "-")
                result = suffer(SCENARIOS[title], cluster.url(), place, load)
                print(f"{title:<16}{result.line()}", flush=True)
                bad |= result.bad
        finally:
            cluster.down(delete=True, timeout=2)
    sys.exit(bad)


if __name__ == "__main__":
    main()
