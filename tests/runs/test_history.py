"""A run's history, as it is read from the cluster."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from driven import Drive, operation

from omx_tasks.errors import NotFoundError
from omx_tasks.monitoring.marks import Course
from omx_tasks.runs import history as module
from omx_tasks.runs.history import read_history
from omx_tasks.store.client import Store


def test_a_history_has_every_change_the_plan_and_what_follows_what(
    drive: Drive, store: Store
) -> None:
    run = drive(
        operation("a"), operation("each", foreach="${a.structured}"), operation("b", ["each"])
    )
    run.do("a", text="t", structured=[1, 2], content=[])
    run.start("each")
    run.expand("each", [1, 2])
    run.do("each[0]")
    run.do("each[1]")
    run.do("b")
    history = read_history(store, run.id)
    assert (history.run, history.name, history.state) == (run.id, "driven", "succeeded")
    assert history.created <= history.finished
    assert (list(history.plan.steps), history.successors) == (
        ["a", "each", "b"],
        {"a": ["each"], "each": ["b"]},
    )
    changes = [(change.operation, change.state) for change in history.changes]
    assert changes[0] == ("", "running")
    assert changes[-1] == ("", "succeeded")
    assert changes.count(("each", "running")) == 2
    assert all(one.at <= two.at for one, two in pairwise(history.changes))


def test_ready_is_the_moment_at_which_the_last_need_was_stored(drive: Drive, store: Store) -> None:
    run = drive(operation("a"), operation("b"), operation("join", ["a", "b"]))
    for name in ("b", "a", "join"):
        run.do(name)
    course = Course(read_history(store, run.id))
    assert course.ready("join") == course.marks["a"].ended
    assert course.critical[-1] == "join"


def test_a_long_history_is_read_in_pages(
    drive: Drive, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = drive(*(operation(f"o{number}") for number in range(5)))
    for number in range(5):
        run.do(f"o{number}")
    whole = read_history(store, run.id)
    monkeypatch.setattr(module, "_PAGE", 3)
    assert read_history(store, run.id) == whole
    assert len(whole.changes) == 12


def test_how_long_a_session_took_to_open_is_kept_and_not_printed(drive: Drive) -> None:
    run = drive(operation("a"))
    run.do("a")
    view = run.view()
    assert view.operations["a"].cold == 0.0
    assert "cold" not in json.dumps(view.as_json())


def test_a_run_that_goes_on_has_a_history_until_now(drive: Drive, store: Store) -> None:
    run = drive(operation("a"), operation("b", ["a"]))
    run.do("a")
    history = read_history(store, run.id)
    assert history.state == "running"
    assert history.finished >= history.changes[-1].at


def test_there_is_no_history_of_no_run(store: Store) -> None:
    with pytest.raises(NotFoundError, match="omx runs"):
        read_history(store, "nobody")
