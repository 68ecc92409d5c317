"""Equal reads of one run are one call; what a server says may be kept is kept only where that was asked for."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet, one, states

from omx_tasks.agents.sharing import Sharing
from omx_tasks.errors import OperationError
from omx_tasks.graph.model import Operation
from omx_tasks.mcp.calls import Progress

KEPT = Path(__file__).parent / "servers" / "kept.py"
NAMES = ("a", "b", "c", "d")


def _equal(fleet: Fleet, tool: str, key: str, seconds: float = 1.0, **more: str) -> list[Operation]:
    arguments = {"key": key, "seconds": seconds, "value": [1], **more}
    return [fleet.call(name, tool, arguments=arguments) for name in NAMES]


def test_equal_reads_under_way_are_one_call_and_are_counted(shared: Fleet) -> None:
    key, gate = uuid.uuid4().hex, shared.gate()
    run = shared.submit(*_equal(shared, "read", key, gate=str(gate)))
    shared.until(lambda: set(states(run.status()).values()) == {"running"})
    gate.touch()
    view = run.wait(60)
    assert states(view) == dict.fromkeys(NAMES, "succeeded")
    assert shared.executions()[f"read {key}"] == 1
    assert view.shared == 3
    assert [one(view, name).structured for name in NAMES] == [{"key": key, "value": [1]}] * 4
    assert set(view.as_json()) == {"run", "state", "seconds", "operations"}


def test_writes_are_never_shared(shared: Fleet) -> None:
    key = uuid.uuid4().hex
    view = shared.run(*_equal(shared, "write", key, seconds=0.2))
    assert shared.executions()[f"write {key}"] == 4
    assert view.shared == 0


def test_two_runs_share_nothing(shared: Fleet) -> None:
    key = uuid.uuid4().hex
    runs = [shared.submit(_equal(shared, "read", key)[0]) for _ in range(2)]
    assert [run.wait(60).shared for run in runs] == [0, 0]
    assert shared.executions()[f"read {key}"] == 2


@pytest.mark.parametrize(
    ("hints", "environ", "reads"),
    [({}, {}, 2), ({"cache": True}, {}, 1), ({}, {"OMX_CACHE": "1"}, 1)],
    ids=["not asked for", "by the server file", "by the setting"],
)
def test_what_may_be_kept_is_kept_over_runs_where_that_was_asked_for(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    hints: dict[str, bool], environ: dict[str, str], reads: int,
) -> None:  # fmt: skip
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    readings = tmp_path / "readings"
    fleet.others["kept"] = {
        "command": sys.executable,
        "args": [str(KEPT), str(readings)],
        "omx": hints,
    }
    fleet.start()
    operation = Operation(id="read", server="kept", resource="kept://notes")
    for _ in range(2):
        assert one(fleet.run(operation), "read").text == "dig"
    assert len(readings.read_text().splitlines()) == reads


class Calls:
    """Counts calls; each waits until it is let go."""

    def __init__(self) -> None:
        self.count = 0
        self.go = asyncio.Event()
        self.error: OperationError | None = None

    async def make(self, tell: Progress) -> dict[str, Any]:
        self.count += 1
        await self.go.wait()
        told = tell(self.count, None, None)
        if told is not None:
            await told
        if self.error is not None:
            raise self.error
        return {"call": self.count}


async def _begun(calls: Calls, sharing: Sharing, heard: list[float]) -> list[asyncio.Task[Any]]:
    def listener(progress: float, _total: float | None, _message: str | None) -> None:
        heard.append(progress)

    tasks = [asyncio.create_task(sharing.call("key", calls.make, listener)) for _ in range(3)]
    while calls.count == 0:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def test_all_who_wait_hear_the_progress_and_have_the_answer() -> None:
    async def story() -> None:
        calls, sharing, heard = Calls(), Sharing(), list[float]()
        tasks = await _begun(calls, sharing, heard)
        calls.go.set()
        answers = await asyncio.gather(*tasks)
        assert answers == [({"call": 1}, False), ({"call": 1}, True), ({"call": 1}, True)]
        assert heard == [1, 1, 1]
        assert await sharing.call("key", calls.make, None) == ({"call": 2}, False)

    asyncio.run(story())


def test_an_error_is_everybodys() -> None:
    async def story() -> None:
        calls, sharing = Calls(), Sharing()
        calls.error = OperationError("tool", "no luck")
        tasks = await _begun(calls, sharing, [])
        calls.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(answer) for answer in answers] == ["no luck"] * 3
        assert calls.count == 1

    asyncio.run(story())


def test_when_the_one_who_calls_is_cancelled_another_calls() -> None:
    async def story() -> None:
        calls, sharing = Calls(), Sharing()
        first, second, third = await _begun(calls, sharing, [])
        second.cancel()
        first.cancel()
        while calls.count < 2:
            await asyncio.sleep(0)
        calls.go.set()
        assert await third == ({"call": 2}, False)
        answers = await asyncio.gather(first, second, return_exceptions=True)
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)

    asyncio.run(story())
