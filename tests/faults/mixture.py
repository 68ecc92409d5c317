"""Graphs of several shapes, submitted and watched until the end of each: chains, joins, and a foreach."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omx_tasks.errors import OmxError
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.runs.submit import submit
from omx_tasks.runs.view import read
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds between two looks at the runs.
LOOK = 1.0
#: Operations of a chain, branches of a join, items of a foreach.
LENGTH, WIDTH, ITEMS = 5, 4, 8
SERVER = "ledger"

#: Operations, and what the server writes down of their calls.
Shape = tuple[list[Operation], list[str]]


class Mixture:
    """Submits a graph every so often and watches each run; ``calls`` is the file where servers write down calls."""

    def __init__(self, store: Store, calls: Path, *, rate: float, keep: float, seed: int) -> None:
        self._store, self._calls, self._rate, self._keep = store, calls, rate, keep
        self._random = random.Random(seed)
        self.submitted: dict[str, list[str]] = {}
        self.states: Counter[str] = Counter()
        self.refused: list[str] = []
        self.reasons: list[str] = []
        self._open: set[str] = set()
        self._resting, self._over = threading.Event(), threading.Event()
        self._idle = threading.Event()
        self._threads = [threading.Thread(target=act) for act in (self._submit, self._watch)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def rest(self) -> None:
        """Submit no more; returns when nothing is being submitted."""
        self._idle.clear()
        self._resting.set()
        assert self._idle.wait(120), "a submission hangs"

    def go_on(self) -> None:
        self._resting.clear()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(120)

    @property
    def open(self) -> int:
        """How many runs are not over."""
        return len(self._open)

    def calls(self) -> Counter[str]:
        """Count what the servers wrote down."""
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        return Counter(line.removeprefix("read ") for line in lines)

    def _submit(self) -> None:
        number = 0
        while not self._over.wait(1 / self._rate):
            if self._resting.is_set():
                self._idle.set()
                continue
            number += 1
            shape = self._random.choice((self._chain, self._join, self._foreach))
            operations, expected = shape(f"g{number}")
            try:
                plan = compile_plan(Graph(name=shape.__name__.strip("_"), operations=operations))
                run = submit(self._store, plan, {}, keep=self._keep)
            except OmxError as error:
                self.refused.append(str(error))
            else:
                self.submitted[run] = expected
                self._open.add(run)

    def _call(self, name: str, key: str, needs: tuple[str, ...] = (), **fields: Any) -> Operation:
        seconds = self._random.choice((0, 0, 0, 0.1, 0.5, 2.0))
        arguments = {"key": key, "seconds": seconds, **fields.pop("arguments", {})}
        return Operation(
            id=name, server=SERVER, tool="read", needs=list(needs), arguments=arguments, **fields
        )

    def _chain(self, graph: str) -> Shape:
        names = [f"step{number}" for number in range(LENGTH)]
        needs: list[tuple[str, ...]] = [(), *((before,) for before in names)]
        chain = zip(names, needs, strict=False)
        calls = [self._call(name, f"{graph}-{name}", before) for name, before in chain]
        return calls, [f"{graph}-{name}" for name in names]

    def _join(self, graph: str) -> Shape:
        middle = tuple(f"branch{number}" for number in range(WIDTH))
        needs: dict[str, tuple[str, ...]] = {
            "first": (),
            **dict.fromkeys(middle, ("first",)),
            "last": middle,
        }
        calls = [self._call(name, f"{graph}-{name}", before) for name, before in needs.items()]
        return calls, [f"{graph}-{name}" for name in needs]

    def _foreach(self, graph: str) -> Shape:
        items = [f"{graph}-{number}" for number in range(ITEMS)]
        return [
            self._call("list", f"{graph}-list", arguments={"value": items}),
            self._call("each", "${item}", foreach="${list.structured.value}"),
            self._call("last", f"{graph}-last", ("each",)),
        ], [f"{graph}-list", *items, f"{graph}-last"]

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            try:
                self._look()
            except OmxError:
                continue  # there is no cluster now

    def _look(self) -> None:
        runs = list(self._open)
        asked = [(keys.run(run), ("HGET", keys.run(run), "state")) for run in runs]
        for run, state in zip(runs, self._store.commands(asked), strict=True):
            word = "gone" if state is None else state.decode()
            if word == "running":
                continue
            self.states[word] += 1
            if word != "succeeded":
                self.reasons += [f"run {run}: {word}", *_errors(self._store, run, word)]
            self._open.discard(run)


def _errors(store: Store, run: str, word: str) -> Iterator[str]:
    if word == "gone":
        return
    for name, operation in read(store, run).operations.items():
        for one in operation if isinstance(operation, list) else [operation]:
            if one.error:
                yield f"{name}: {one.error['message']}"
