"""What becomes of operations when agents and servers of a nursery are struck: ``python tests/faults/pool.py [--help]``.

A nursery keeps agents, each with a server that notes, in files outside of the cluster, each call that it begins and
each that it is about to answer. Half of the calls are writes. In the middle of each run one thing happens to one agent,
or to its server: SIGKILL, SIGSTOP, or memory that it takes and keeps, above what it may use.

The table: operations that succeeded; *unknown* writes (their answer was lost, and they are not made again); operations
that are *lost* (neither of the two, or in no ledger); writes done *twice*; operations a second *before* the strike; the
seconds until that rate was back (*recovered*, nine tenths of it); *replaced* agents; processes *left* whose agent is
gone, a while after the run, and at the end every process that had to do with the nursery. The exit code is 1 when
something was lost, done twice, or left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "ledger"), str(HERE.parent / "agents")]

import psutil  # noqa: E402
from fleet import LEDGER, one, states  # noqa: E402
from graphs import OVERDUE  # noqa: E402
from shard import wait_until  # noqa: E402

from omx_tasks.agents.registry import agents  # noqa: E402
from omx_tasks.api import Run  # noqa: E402
from omx_tasks.cluster.embedded import EmbeddedCluster  # noqa: E402
from omx_tasks.deploy.forkserver import ForkServer  # noqa: E402
from omx_tasks.deploy.nursery import Nursery  # noqa: E402
from omx_tasks.graph.model import Graph, Operation  # noqa: E402
from omx_tasks.graph.plan import compile_plan  # noqa: E402
from omx_tasks.mcp import reaper  # noqa: E402
from omx_tasks.runs.submit import submit  # noqa: E402
from omx_tasks.runs.view import RunView  # noqa: E402
from omx_tasks.store.client import Store  # noqa: E402

COLUMNS = (
    "succeeded", "unknown", "lost", "twice", "before", "recovered", "replaced", "left",
)  # fmt: skip
WIDTH = 11
GROW = signal.SIGRTMIN
MIB = 2**20
#: Bytes by which a struck process grows; what a server, and an agent with its server, may use.
BY, SERVER, AGENT = 400 * MIB, "200MiB", "300MiB"
#: A rate is back at this part of what it was before, in a window of so many seconds.
BACK, WINDOW = 0.9, 3.0
#: Seconds from one window to the next.
STEP = 0.1
#: Seconds in which nothing is left whose agent is gone.
GONE = 60.0

FAULTS: dict[str, tuple[bool, int]] = {
    "server killed": (True, signal.SIGKILL),
    "server stopped": (True, signal.SIGSTOP),
    "server grows": (True, GROW),
    "agent killed": (False, signal.SIGKILL),
    "agent stopped": (False, signal.SIGSTOP),
    "agent grows": (False, GROW),
}


@dataclass(frozen=True)
class Load:
    """What is done: operations, seconds of each, how long one may take; agents with their slots; lease and silence."""

    operations: int = 900
    seconds: float = 0.5
    timeout: float = 3.0
    agents: int = 3
    slots: int = 6
    lease: float = 3.0
    silence: float = 5.0


@dataclass(frozen=True)
class Result:
    """What became of the operations of one run."""

    states: Counter[str]
    lost: int
    twice: int
    before: float
    recovered: float | None
    replaced: int
    left: int

    @property
    def bad(self) -> bool:
        """Whether a promise was broken."""
        return bool(self.lost or self.twice or self.left or self.recovered is None)

    def line(self) -> str:
        """Return the cells of the table."""
        back = "never" if self.recovered is None else f"{self.recovered:.1f} s"
        cells = (
            self.states["succeeded"], self.states["unknown"], self.lost, self.twice, f"{self.before:.0f}/s",
            back, self.replaced, self.left,
        )  # fmt: skip
        return "".join(f"{cell!s:>{WIDTH}}" for cell in cells)


@dataclass
class Pool:
    """A nursery under load."""

    nursery: Nursery
    store: Store
    folder: Path
    server: str
    load: Load

    def suffer(self, fault: str) -> Result:
        """Let a graph run, strike in the middle of it, and see what became of it."""
        mark = uuid.uuid4().hex[:6]
        run = Run(submit(self.store, compile_plan(self._graph(mark)), {}, keep=600), self.store)
        begun_before = len(self._lines(""))
        wait_until(lambda: len(self._lines("")) - begun_before > self.load.operations // 4)
        pids = self._agents()
        struck = time.time()
        self._strike(min(pids, key=lambda pid: psutil.Process(pid).create_time()), *FAULTS[fault])
        view = run.wait(300)
        return self._judge(view, mark, struck, pids)

    def _graph(self, mark: str) -> Graph:
        return Graph(
            name="pool",
            operations=[
                Operation(
                    id=f"{'w' if number % 2 else 'r'}{number}",
                    server=self.server,
                    tool="write" if number % 2 else "read",
                    timeout=self.load.timeout,
                    arguments={"key": f"{mark}-{number}", "seconds": self.load.seconds},
                )
                for number in range(self.load.operations)
            ],
        )

    def _strike(self, agent: int, its_server: bool, sign: int) -> None:
        (server,) = psutil.Process(agent).children()
        os.kill(server.pid if its_server else agent, sign)

    def _agents(self) -> set[int]:
        heard = {record.pid for record in agents(self.store)}
        return heard & {
            one.launched.pid for one in self.nursery.processes if one.launched and one.alive
        }

    def _lines(self, suffix: str) -> list[str]:
        path = self.folder / f"ledger{suffix}"
        return path.read_text().splitlines() if path.exists() else []

    def _judge(self, view: RunView, mark: str, struck: float, before: set[int]) -> Result:
        begun, answered, seen = Counter(self._lines("")), set(self._lines(".ended")), states(view)
        tools = {"r": "read", "w": "write"}
        noted = {name: f"{tools[name[0]]} {mark}-{name[1:]}" for name in seen}
        fine = [
            name
            for name, state in seen.items()
            if (state == "succeeded" and noted[name] in answered)
            or (state == "unknown" and name.startswith("w"))
        ]
        ends = sorted(end for name in seen if (end := one(view, name).finished))
        rate = sum(struck - WINDOW <= end < struck for end in ends) / WINDOW
        with contextlib.suppress(AssertionError):  # what is left then is counted
            wait_until(lambda: not self.left_by_the_dead(), GONE)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(self._agents()) == self.load.agents, GONE)
        return Result(
            Counter(seen.values()),
            lost=len(seen) - len(fine),
            twice=sum(begun[noted[name]] > 1 for name in seen if name.startswith("w")),
            before=rate,
            recovered=recovered(ends, struck, BACK * rate),
            replaced=len(before - self._agents()),
            left=len(self.left_by_the_dead()),
        )

    def left_by_the_dead(self) -> list[psutil.Process]:
        """Return our processes whose agent is gone."""
        mine = {process.pid for process in processes_of(self.folder)}
        return [process for process in reaper.orphans() if process.pid in mine]


def recovered(ends: list[float], struck: float, rate: float) -> float | None:
    """Return the seconds from the strike until the rate that fell after it was back; None where it never was.

    The end of a run is none of it: there is too little to do.
    """
    fell, at = False, struck
    while at <= ends[-1] - WINDOW:
        enough = sum(at <= end < at + WINDOW for end in ends) >= rate * WINDOW
        if fell and enough:
            return at - struck
        fell = fell or not enough
        at += STEP
    return None if fell else 0.0


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return every process of a pool but this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("POOL") == str(folder) and process.pid != os.getpid():
                found.append(process)
    return found


@contextmanager
def pool(url: str, folder: Path, load: Load) -> Iterator[Pool]:
    """Make a nursery with a ledger, all agents warm, and a coordinator; looked at all the time."""
    folder.mkdir(parents=True)
    server, store = f"ledger_{uuid.uuid4().hex[:8]}", Store(url, timeout=15.0)
    ours = {"POOL": str(folder), "GROW_BY": str(BY)}
    paths = [str(HERE / "growing"), os.environ.get("PYTHONPATH", "")]
    ours["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    hints = {"resource": "key", "memory": SERVER}
    command = [sys.executable, str(LEDGER), str(folder / "ledger")]
    entry = {"command": command[0], "args": command[1:], "env": ours, "omx": hints}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {server: entry}}))
    environ = {
        **os.environ,
        **ours,
        "OMX_BROKER_URL": url,
        "OMX_MCP_CONFIG": str(folder / "mcp.json"),
        "OMX_SLOTS": str(load.slots),
        "OMX_LEASE": str(load.lease),
        "OMX_OVERDUE": str(OVERDUE),
        "OMX_AGENT_MEMORY": AGENT,
    }
    nursery = Nursery(
        name="struck",
        forks=ForkServer(folder / "forkserver.log", environ),
        logs=folder,
        environ=environ,
        store=Store(url, timeout=5.0),
        least=load.agents,
        most=load.agents,
        silence=load.silence,
    )
    stopping = threading.Event()

    def keep() -> None:
        while not stopping.wait(0.1):
            nursery.look()

    keeper = threading.Thread(target=keep)
    try:
        nursery.start(load.agents)
        nursery.await_warm(stopping)
        keeper.start()
        with _coordinator(environ, folder):
            yield Pool(nursery, store, folder, server, load)
    finally:
        stopping.set()
        if keeper.ident is not None:
            keeper.join()
        nursery.stop(10.0)
        store.close()


@contextmanager
def _coordinator(environ: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / "coordinator.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.coordinator"], env=environ, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    """Let all happen, one after the other, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("faults", nargs="*", default=list(FAULTS), metavar="FAULT")
    parser.add_argument("--operations", type=int, default=Load.operations)
    parser.add_argument("--seconds", type=float, default=Load.seconds, help="of each call")
    parser.add_argument("--agents", type=int, default=Load.agents)
    parser.add_argument("--slots", type=int, default=Load.slots, help="of an agent")
    options = vars(parser.parse_args())
    chosen = options.pop("faults")
    if unknown := set(chosen) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(unknown)}; there are: {', '.join(FAULTS)}")
    bad = False
    with TemporaryDirectory(prefix="omx-pool-") as place:
        folder = Path(place)
        cluster = EmbeddedCluster(folder / "cluster")
        cluster.up(bound=True)
        try:
            with pool(cluster.url(), folder / "pool", Load(**options)) as struck:
                print(f"{'':<16}" + "".join(f"{name:>{WIDTH}}" for name in COLUMNS), flush=True)
                for fault in chosen:
                    result = struck.suffer(fault)
                    print(f"{fault:<16}{result.line()}", flush=True)
                    bad |= result.bad
        finally:
            cluster.down(delete=True, timeout=2)
        left = processes_of(folder / "pool")
        print(f"processes left at the end: {len(left)}")
    sys.exit(bad or bool(left))


if __name__ == "__main__":
    main()
