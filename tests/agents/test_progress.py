"""What servers say of their progress reaches everybody who watches a run, as it comes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet

from omx_tasks.agents.progress import LONGEST, Reporter
from omx_tasks.api import Run
from omx_tasks.errors import OmxError
from omx_tasks.graph.model import Operation
from omx_tasks.runs.follow import Change
from omx_tasks.store import keys
from omx_tasks.store.client import Store

SERVER = Path(__file__).parent / "servers" / "steps.py"


@pytest.fixture(scope="module")
def steps(
    cluster_url: str, tmp_path_factory: pytest.TempPathFactory, shared: Fleet
) -> Iterator[Fleet]:
    """An agent with the server that tells its progress."""
    store = Store(cluster_url, timeout=10.0)
    others = {"steps": {"command": sys.executable, "args": [str(SERVER)]}}
    fleet = Fleet(tmp_path_factory.mktemp("steps"), cluster_url, store, shared.until, others)
    fleet.start()
    yield fleet
    fleet.stop()
    store.close()


class Watcher:
    """Follows a run in a thread."""

    def __init__(self, run: Run) -> None:
        self.seen: list[Change] = []
        self._thread = threading.Thread(target=self._watch, args=(run,))
        self._thread.start()

    def _watch(self, run: Run) -> None:
        for change in run.changes(60):
            self.seen.append(change)

    @property
    def told(self) -> list[float]:
        return [change.progress.progress for change in self.seen if change.progress]

    def end(self) -> list[tuple[str, str]]:
        self._thread.join(60)
        return [(change.operation, change.state) for change in self.seen]


def _walk(folder: Path, count: int) -> Operation:
    arguments = {"folder": str(folder), "steps": count}
    return Operation(id="walk", server="steps", tool="walk", arguments=arguments)


def test_all_watchers_see_each_step_while_it_is_taken(steps: Fleet, tmp_path: Path) -> None:
    run = steps.submit(_walk(tmp_path, 3))
    watchers = [Watcher(run), Watcher(run)]
    for step in (1, 2, 3):
        for watcher in watchers:
            steps.until(lambda watcher=watcher, step=step: watcher.told[-1:] == [step])
            last = watcher.seen[-1]
            assert last.progress == (step, 3, f"step {step}")
            assert last.operation == "walk"
        (tmp_path / str(step)).touch()
    expected = [("", "running"), ("walk", "running"), *[("walk", "progress")] * 3]
    for watcher in watchers:
        assert watcher.end() == [*expected, ("walk", "succeeded"), ("", "succeeded")]


def test_who_comes_late_sees_how_far_it_is_and_all_states(steps: Fleet, tmp_path: Path) -> None:
    run = steps.submit(_walk(tmp_path, 2))
    first = Watcher(run)
    (tmp_path / "1").touch()
    steps.until(lambda: first.told[-1:] == [2])
    late = Watcher(run)
    steps.until(lambda: late.told == [2])
    (tmp_path / "2").touch()
    assert [state for _, state in late.end()] == [
        "running", "running", "progress", "succeeded", "succeeded",
    ]  # fmt: skip
    first.end()


def test_the_command_line_shows_progress(steps: Fleet, tmp_path: Path) -> None:
    run = steps.submit(_walk(tmp_path, 2))
    watcher = Watcher(run)
    (tmp_path / "1").touch()
    steps.until(lambda: watcher.told[-1:] == [2])
    (tmp_path / "2").touch()
    watcher.end()
    texts = [_omx(steps, "watch", run.id), _omx(steps, "watch", run.id, "--json")]
    assert "progress   walk  2/2 step 2" in texts[0]
    told = [json.loads(line) for line in texts[1].splitlines()]
    (one,) = [line for line in told if line["state"] == "progress"]
    assert (one["progress"], one["total"], one["message"]) == (2, 2, "step 2")


def _omx(fleet: Fleet, *words: str) -> str:
    environ = {**os.environ, "OMX_BROKER_URL": fleet.url, "COLUMNS": "200"}
    command = [sys.executable, "-c", "from omx_tasks.cli.main import main; main()", *words]
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout


def test_a_flood_is_told_a_few_times_and_its_end_always(steps: Fleet, store: Store) -> None:
    run = steps.submit(
        Operation(id="rush", server="steps", tool="rush", arguments={"steps": 3000}, timeout=30)
    )
    watcher = Watcher(run)
    view = run.wait(60)
    watcher.end()
    assert view.succeeded
    operation = view.operations["rush"]
    assert not isinstance(operation, list)
    assert operation.seconds is not None
    assert watcher.told[-1] == 3000
    assert len(watcher.told) <= operation.seconds * 10 + 3
    assert watcher.told == sorted(watcher.told)
    assert len(watcher.seen[-3].detail) < LONGEST + 100
    stream = keys.stream(run.id)
    assert store.command(stream, "XLEN", stream) == 5, "the newest progress is kept, and no other"


class Told:
    """What was told; each is stored when the loop turns next."""

    def __init__(self, error: Exception | None = None) -> None:
        self.texts: list[str] = []
        self._error = error

    def __call__(self, text: str) -> asyncio.Future[Any]:
        self.texts.append(text)
        return asyncio.ensure_future(self._store())

    async def _store(self) -> None:
        if self._error is not None:
            raise self._error

    @property
    def steps(self) -> list[float]:
        return [json.loads(one)["progress"] for one in self.texts]


@pytest.mark.parametrize("error", [None, OmxError("the cluster is away")])
def test_what_was_said_last_is_told_even_when_the_call_ends_at_once(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def speak() -> list[float]:
        told = Told(error)
        reporter = Reporter(told, every=60)
        for step in range(5):
            reporter(step, None, None)
        assert told.steps == [0]
        await reporter.finish()
        await reporter.finish()
        return told.steps

    assert asyncio.run(speak()) == [0, 4]
    assert len(caplog.records) == (2 if error else 0)


def test_between_two_reports_some_time_passes() -> None:
    async def speak() -> None:
        told = Told()
        reporter = Reporter(told, every=0.01)
        loop = asyncio.get_running_loop()
        began, said = loop.time(), 0
        while len(told.steps) < 3:
            reporter(said, None, None)
            said += 1
            await asyncio.sleep(0)
        await reporter.finish()
        passed = loop.time() - began
        assert told.steps[-1] == said - 1
        assert len(told.steps) <= passed / 0.01 + 2

    asyncio.run(speak())
