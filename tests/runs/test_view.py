"""What is shown of a run."""

from __future__ import annotations

import json

import pytest
from driven import Drive, operation

from omx_tasks.errors import NotFoundError
from omx_tasks.runs.listing import recent
from omx_tasks.runs.submit import new_run_id, submit
from omx_tasks.runs.view import read
from omx_tasks.store.client import Store

FIELDS = {"state", "attempts", "agent", "started", "finished", "text", "structured", "error"}


def test_the_printed_object_has_exactly_the_promised_fields(drive: Drive) -> None:
    run = drive(operation("a"), operation("each", foreach="${a.structured}"), operation("b", ["a"]))
    run.do("a", text="t", structured=[1, 2], content=[])
    run.start("each")
    run.expand("each", [1, 2])
    run.do("each[1]", "failed")
    shown = json.loads(json.dumps(run.view().as_json()))
    assert set(shown) == {"run", "state", "seconds", "operations"}
    assert list(shown["operations"]) == ["a", "each", "b"]
    a, each, b = shown["operations"].values()
    assert set(a) == set(b) == set(each[0]) == set(each[1]) == FIELDS
    assert a == {
        "state": "succeeded",
        "attempts": 1,
        "agent": "agent",
        "started": 1.0,
        "finished": 2.0,
        "text": "t",
        "structured": [1, 2],
        "error": None,
    }
    assert [item["state"] for item in each] == ["waiting", "failed"]
    assert each[1]["error"] == {"kind": "tool", "message": "each[1] failed"}
    assert b["state"] == "waiting"


def test_a_foreach_whose_items_are_not_known_is_one_object(drive: Drive) -> None:
    run = drive(operation("a"), operation("each", foreach="${a.structured}"))
    assert run.states() == {"a": "waiting", "each": "waiting"}


def test_the_time_of_an_operation_is_that_of_its_call(drive: Drive) -> None:
    run = drive(operation("a"), operation("b"))
    run.do("a")
    assert run.view().operations["a"].seconds == 1.0
    assert run.view().operations["b"].seconds is None


def test_the_seconds_of_a_run_stop_at_its_end(drive: Drive, store: Store) -> None:
    run = drive(operation("a"))
    run.do("a")
    assert read(store, run.id).seconds == read(store, run.id).seconds
    assert run.view().over
    assert run.view().succeeded


def test_looking_at_no_run_says_so(store: Store) -> None:
    with pytest.raises(NotFoundError, match="omx runs"):
        read(store, "nobody")


def test_a_submitted_run_is_listed_first(drive: Drive, store: Store) -> None:
    plan = drive(*(operation(f"o{number}") for number in range(12))).plan
    run_id = submit(store, plan, {}, keep=60)
    line = recent(store, 1)[0]
    assert (line.run, line.name, line.state, line.total, line.open) == (
        run_id,
        "driven",
        "running",
        12,
        12,
    )


def test_run_ids_sort_by_their_time() -> None:
    ids = [new_run_id() for _ in range(100)]
    assert [name.split("-")[0] for name in ids] == sorted(name.split("-")[0] for name in ids)
    assert len(set(ids)) == 100
