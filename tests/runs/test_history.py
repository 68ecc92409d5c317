"""A run's history, as it is read from the cluster."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from driven import Drive, operation

from omx_tasks.errors import NotFoundError
from omx_tasks.monitoring.marks import Course
from omx_tasks.monitoring.report import report_of
from omx_tasks.runs import history as module
from omx_tasks.runs.follow import Change
from omx_tasks.runs.history import read_history, without_idle
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


def test_the_time_between_an_end_and_the_resumption_is_left_out() -> None:
    record = json.dumps({"attempts": 1, "started": 1021.0, "finished": 1022.0, "error": None})
    changes = [
        Change(1000.0, "", "running", ""),
        Change(1001.0, "a", "running", "agent"),
        Change(1002.0, "", "cancelled", ""),
        Change(1003.0, "a", "cancelled", ""),
        Change(1020.0, "", "running", "1"),
        Change(1020.0, "a", "waiting", ""),
        Change(1021.0, "a", "running", "agent"),
        Change(1022.0, "a", "succeeded", record),
        Change(1022.0, "", "succeeded", "1"),
    ]
    told = list(without_idle(changes))
    assert [change.at - 1000 for change in told] == [0, 1, 2, 2, 2, 2, 3, 4, 4]
    moved = json.loads(told[7].detail)
    assert (moved["started"], moved["finished"]) == (1003.0, 1004.0)


def test_a_report_of_a_resumed_run_shows_how_each_operation_ended(
    drive: Drive, store: Store
) -> None:
    run = drive(operation("a"), operation("b", ["a"]), operation("c", ["b"]))
    run.do("a")
    run.do("b", "failed")
    run.resume()
    for name in ("b:1", "c:1"):
        run.do(name)
    report = report_of(read_history(store, run.id), slots=2)
    assert [(span.name, span.state) for span in report.spans] == [
        ("a", "succeeded"),
        ("b", "succeeded"),
        ("c", "succeeded"),
    ]
    assert report.critical == ("a", "b", "c")
    assert report.seconds == pytest.approx(run.view().seconds, abs=0.001)
    assert all(0 <= span.ready <= span.ended <= report.seconds + 0.001 for span in report.spans)


def test_there_is_no_history_of_no_run(store: Store) -> None:
    with pytest.raises(NotFoundError, match="omx runs"):
        read_history(store, "nobody")
