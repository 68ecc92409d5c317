"""One run, interrupted again and again: ``python tests/faults/interruptions.py [--operations N] [--times N]``.

Half of the operations write to an append-only book outside of the cluster. Each interruption comes at a random moment:
the run is cancelled, its producer is killed, or the whole system goes down and comes up again. Then the script does
what a careful operator does: where the run has ended it looks up each operation that is `unknown` in the book, says
that those in it are done and that the others are to be done again, and resumes it; where the run goes on, it lets it.

An operation that counts as done has no output, so nothing refers to what a write answers: reads pass the values on.
In the end every read must have its right value, every write must be in the book exactly once, and the run must have
succeeded. The exit code is 1 when that is not so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omx_tasks.api import Choice, Run
from omx_tasks.home import Home
from omx_tasks.runs.listing import recent
from omx_tasks.runs.view import OperationView, RunView
from omx_tasks.store.client import Store

OMX = Path(sys.executable).with_name("omx")
BOOK = Path(__file__).parent / "servers" / "book.py"
ROOT = Path(__file__).parents[2]
#: Kinds of interruption.
CANCEL, KILL, RESTART = "cancelled", "producer killed", "system restarted"
#: Operations that an operation needs at most, and how far back they may be.
NEEDS, REACH = 2, 60
#: Reads that follow one another at most: each sums two, and the numbers stay exact.
DEEP = 40
#: Seconds without which nothing may go on.
PATIENCE = 300.0


@dataclass
class Story:
    """A graph of reads, which compute, and writes, which follow them; and what each read must answer."""

    operations: list[dict[str, Any]]
    values: dict[str, int]
    writes: list[str]


def make_story(count: int, chance: random.Random) -> Story:
    """Make a graph of so many operations: each read sums up to two earlier ones, each write follows one."""
    story = Story([], {}, [])
    depth: dict[str, int] = {}
    for number in range(count):
        writes = number % 2 == 1
        earlier = [name for name in list(story.values)[-REACH:] if depth[name] < DEEP]
        needed = chance.sample(
            earlier, min(len(earlier), 1 if writes else chance.randint(0, NEEDS))
        )
        name = f"o{number}"
        arguments: dict[str, Any] = {"key": name, "seconds": round(chance.uniform(0.05, 0.5), 3)}
        operation = {"id": name, "server": "book", "tool": "write" if writes else "read"}
        if writes:
            # A write waits for an earlier write, too: what is skipped behind an unknown one must be done later.
            if story.writes and chance.random() < 0.5:
                operation["needs"] = [chance.choice(story.writes[-REACH:])]
            arguments["value"] = f"${{{needed[0]}.structured.value}}" if needed else 0
            story.writes.append(name)
        else:
            terms = ", ".join([f"`{number}`", *(f"{one}.structured.value" for one in needed)])
            arguments["value"] = f"${{sum([{terms}])}}"
            story.values[name] = number + sum(story.values[one] for one in needed)
            depth[name] = 1 + max((depth[one] for one in needed), default=0)
        story.operations.append(operation | {"arguments": arguments})
    return story


@dataclass
class Place:
    """A folder with a server file and a home; ``book`` is what the server writes, ``slots`` are those of an agent."""

    folder: Path
    slots: int
    book: Path = field(init=False)

    def __post_init__(self) -> None:
        self.book = self.folder / "book"
        server = {"command": sys.executable, "args": ["-S", str(BOOK), str(self.book)]}
        # Writes of different keys do not wait for one another.
        servers = {"book": server | {"omx": {"resource": "key"}}}
        (self.folder / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))

    @property
    def environ(self) -> dict[str, str]:
        ours = {key: value for key, value in os.environ.items() if not key.startswith("OMX_")}
        path = os.pathsep.join(filter(None, [str(ROOT), ours.get("PYTHONPATH", "")]))
        settings = {"OMX_LEASE": "3", "OMX_OVERDUE": "3", "PYTHONPATH": path}
        return ours | settings | {"XDG_DATA_HOME": str(self.folder / "data")}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start ``omx WORDS…``; what it says is in a pipe."""
        return subprocess.Popen(
            [OMX, *words],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def omx(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``omx WORDS…`` to its end."""
        return subprocess.run(
            [OMX, *words],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def done(self, *words: str) -> str:
        """Run a command that must succeed and return what it printed."""
        ended = self.omx(*words)
        assert ended.returncode == 0, f"omx {' '.join(words)}: {ended.stderr}"
        return ended.stdout

    def up(self) -> None:
        self.done("up", "--detach", "--slots", str(self.slots))

    def handle(self, run: str) -> Handle:
        """Return a run on the system that is up."""
        system = Home.of(self.environ).read()
        assert system is not None
        store = Store(system.broker_url)
        return Handle(Run(run, store), store)

    def written(self) -> Counter[str]:
        """Count what is in the book."""
        return Counter(self.book.read_text().split() if self.book.exists() else [])


@dataclass
class Handle:
    """The run on the system that is up now."""

    run: Run
    store: Store


@dataclass
class Operator:
    """Interrupts one run, and resumes it with care."""

    place: Place
    story: Story
    chance: random.Random
    run: str = ""
    producer: subprocess.Popen[str] | None = None
    handle: Handle = field(init=False)
    told: Counter[str] = field(default_factory=Counter)

    def go(self, kinds: Sequence[str]) -> RunView:
        """Bring the run to its end, through these interruptions; return what is known of it then."""
        graph = self.place.folder / "graph.json"
        graph.write_text(json.dumps({"name": "interrupted", "operations": self.story.operations}))
        self.run = self.place.done("run", str(graph), "--detach").strip()
        self.producer = self.place.start("result", self.run, "--json")
        self.handle = self.place.handle(self.run)
        for number, kind in enumerate(kinds):
            over = self._reach((number + 1) / (len(kinds) + 1))
            self._strike(kind)
            done = self._take_up()
            print(f"{number + 1:3} {kind:17} at {over:4.0%}  {done}", flush=True)
        while (view := self.handle.run.wait(PATIENCE)).state != "succeeded":
            self._take_up()
        self.end_producer()
        return view

    def _reach(self, share: float) -> float:
        """Wait until about this share of the operations is over; return how many are."""
        deadline, pause = time.monotonic() + PATIENCE, threading.Event()
        share *= self.chance.uniform(0.8, 1.0)
        while True:
            line = next(one for one in recent(self.handle.store, 10) if one.run == self.run)
            over = 1 - line.open / line.total
            if over >= share or line.state != "running":
                return over
            assert time.monotonic() < deadline, f"stuck at {over:.0%}"
            pause.wait(0.01)

    def _strike(self, kind: str) -> None:
        match kind:
            case "cancelled":
                self.handle.run.cancel(timeout=10)
            case "producer killed":
                self.end_producer()
            case _:
                self.handle.store.close()
                self.place.done("down")
                self.place.up()
                self.handle = self.place.handle(self.run)
        self.told[kind] += 1

    def end_producer(self) -> None:
        """Kill whoever waits for the run."""
        if self.producer is not None:
            self.producer.send_signal(signal.SIGKILL)
            self.producer.communicate()
            self.producer = None

    def _take_up(self) -> str:
        """Resume the run where it has ended; say of each operation that is unknown what the book knows."""
        view = self.handle.run.status()
        if view.state in ("running", "succeeded"):
            return view.state
        written = self.place.written()
        unknown = [name for name in self.story.writes if one(view, name).state == "unknown"]
        choices: dict[str, Choice] = {
            name: "done" if written[name] else "retry" for name in unknown
        }
        self.end_producer()
        self.handle.run.resume(choices=choices)
        self.producer = self.place.start("result", self.run, "--json")
        counts = Counter(choices.values())
        self.told.update({f"unknown: {choice}": count for choice, count in counts.items()})
        return f"resumed, {counts['done']} unknown were in the book, {counts['retry']} were not"


def one(view: RunView, name: str) -> OperationView:
    """Return an operation that is no foreach."""
    found = view.operations[name]
    assert isinstance(found, OperationView)
    return found


def mistakes(story: Story, view: RunView, written: Counter[str]) -> list[str]:
    """Return what is wrong with a run that is over."""
    found = [] if view.succeeded else [f"the run has {view.state}"]
    for name, value in story.values.items():
        seen = (one(view, name).structured or {}).get("value")
        if seen != value:
            found.append(f"{name} is {seen} and should be {value}")
    found += [
        f"{name} was written {written[name]} times" for name in story.writes if written[name] != 1
    ]
    return found


def interrupt(
    folder: Path, operations: int, kinds: Sequence[str], seed: int
) -> tuple[list[str], Counter[str]]:
    """Do all of it in a folder; return the mistakes, and how often what happened."""
    chance = random.Random(seed)
    place, story = Place(folder, max(1, operations // 250)), make_story(operations, chance)
    place.up()
    operator = Operator(place, story, chance)
    try:
        view = operator.go(kinds)
        operator.told["attempts"] = sum(one(view, name).attempts for name in view.operations)
        return mistakes(story, view, place.written()), operator.told
    finally:
        operator.end_producer()
        place.omx("down")


def main() -> None:
    """Interrupt one run and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--operations", type=int, default=2000)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    with TemporaryDirectory(prefix="omx-interruptions-") as folder:
        kinds = random.Random(options.seed).choices((CANCEL, KILL, RESTART), k=options.times)
        wrong, told = interrupt(Path(folder), options.operations, kinds, options.seed)
    print(f"{time.monotonic() - began:.0f} s; " + ", ".join(f"{n} {w}" for w, n in told.items()))
    for mistake in wrong[:20]:
        print(mistake)
    print(f"{len(wrong)} mistakes")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
