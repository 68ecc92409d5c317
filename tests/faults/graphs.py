"""Graphs under way while a fault is committed: what was submitted has to succeed, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fleet import Fleet
from shard import wait_until

from omx_tasks.api import Run
from omx_tasks.errors import OmxError
from omx_tasks.runs.view import RunView
from omx_tasks.store.client import Store

#: Seconds of a lease, and until an operation is looked after.
LEASE, OVERDUE = 2.0, 4.0
#: Seconds without a finished run after which what is missing counts as lost.
PATIENCE = 30.0
MIDDLE = ("b", "c", "d")


@dataclass(frozen=True)
class Ended:
    """What became of the graphs whose submission was acknowledged."""

    submitted: int
    succeeded: int
    stuck: int
    refused: int
    calls_twice: int
    reasons: tuple[str, ...] = ()


@dataclass
class Graphs:
    """Submits graphs of five operations, one after the other, to a fleet of agents."""

    fleet: Fleet
    count: int
    pause: float
    runs: list[Run] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._submit, name="graphs")
        self._thread.start()

    def _submit(self) -> None:
        for number in range(self.count):
            call = self.fleet.call
            names = [f"{name}{number}" for name in ("a", *MIDDLE, "e")]
            first, *middle, last = names
            operations = [
                call(first),
                *(call(name, needs=[first]) for name in middle),
                call(last, needs=middle),
            ]
            try:
                self.runs.append(self.fleet.submit(*operations))
            except OmxError as error:
                self.refused.append(str(error))
            if self._stop.wait(self.pause):
                return

    def stop(self) -> None:
        """Submit no more."""
        self._stop.set()
        self._join()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join(120)
            assert not self._thread.is_alive(), "a submission hangs"

    def finish(self) -> Ended:
        """Wait for the end of all that was submitted."""
        self._join()
        views = self._views()
        until = time.monotonic() + PATIENCE
        while any(not view.over for view in views) and time.monotonic() < until:
            time.sleep(0.2)
            before, views = sum(view.over for view in views), self._views()
            if sum(view.over for view in views) > before:
                until = time.monotonic() + PATIENCE
        return Ended(
            submitted=len(views),
            succeeded=sum(view.succeeded for view in views),
            stuck=sum(not view.over for view in views),
            refused=len(self.refused),
            calls_twice=sum(count - 1 for count in self.fleet.executions().values()),
            reasons=tuple(sorted({*self.refused, *_failures(views)}))[:3],
        )

    def _views(self) -> list[RunView]:
        return [run.status() for run in self.runs]


def _failures(views: list[RunView]) -> Iterator[str]:
    for view in views:
        for name, operation in view.operations.items():
            if not isinstance(operation, list) and operation.error:
                yield f"{name[0]}: {operation.error['message']}"


@contextmanager
def running(url: str, folder: Path, count: int, pause: float, durability: str) -> Iterator[Graphs]:
    """Give graphs that are being submitted, with two agents and a coordinator of their own."""
    folder.mkdir(parents=True)
    os.environ["OMX_DURABILITY"] = durability
    os.environ["OMX_OVERDUE"] = str(OVERDUE)
    store = Store(url, timeout=15.0)
    fleet = Fleet(folder, url, store, wait_until)
    with (folder / "coordinator.log").open("wb") as log:
        coordinator = subprocess.Popen(
            [sys.executable, "-m", "workers.coordinator"],
            env={**os.environ, "OMX_BROKER_URL": url},
            stdout=log,
            stderr=log,
        )
    graphs = Graphs(fleet, count, pause)
    try:
        for _ in range(2):
            fleet.start(slots=8, lease=LEASE)
        graphs.start()
        yield graphs
    finally:
        graphs.stop()
        fleet.stop()
        coordinator.send_signal(signal.SIGTERM)
        coordinator.wait(60)
        store.close()
