"""Whoever follows a run sees all of it, however late."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from driven import Drive, operation

from omx_tasks.errors import NotFoundError
from omx_tasks.runs.follow import follow
from omx_tasks.store import keys
from omx_tasks.store.client import Store


def test_a_run_that_is_over_is_told_from_its_beginning_to_its_end(
    drive: Drive, store: Store
) -> None:
    run = drive(operation("a"), operation("b", ["a"]), operation("c", ["b"]))
    run.do("a")
    run.do("b", "failed")
    told = [(change.operation, change.state) for change in follow(store, run.id)]
    assert told == [
        ("", "running"),
        ("a", "running"),
        ("a", "succeeded"),
        ("b", "running"),
        ("b", "failed"),
        ("c", "skipped"),
        ("", "failed"),
    ]


def test_what_happens_is_told_while_it_happens(drive: Drive, store: Store) -> None:
    run = drive(operation("a"), operation("b"))
    changes = follow(store, run.id, timeout=10)
    assert next(changes).state == "running"
    run.start("a")
    change = next(changes)
    assert (change.operation, change.state, change.detail) == ("a", "running", "agent")
    ending = threading.Thread(target=lambda: (run.finish("a"), run.do("b")))
    ending.start()
    assert [change.operation for change in changes] == ["a", "b", "b", ""]
    ending.join()


def test_times_are_those_of_the_changes_and_never_go_back(drive: Drive, store: Store) -> None:
    run = drive(operation("a"))
    run.do("a")
    times = [change.at for change in follow(store, run.id)]
    assert times == sorted(times)
    assert abs(times[-1] - run.view().created) < 10


def test_following_ends_after_its_time_even_when_the_run_does_not(
    drive: Drive, store: Store
) -> None:
    run = drive(operation("a"))
    assert [change.state for change in follow(store, run.id, timeout=0.05)] == ["running"]


def test_who_followed_for_a_while_reads_many_changes_at_once(
    drive: Drive, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omx_tasks.runs.follow.LATE", 1000.0)
    monkeypatch.setattr("omx_tasks.runs.follow.LATEST", 0.5)
    names = [f"o{number}" for number in range(20)]
    run = drive(*(operation(name) for name in names))
    reads = list[Any]()
    command = store.command

    def counting(key: str, name: str, *arguments: Any) -> Any:
        reads.append(name)
        return command(key, name, *arguments)

    monkeypatch.setattr(store, "command", counting)
    changes = follow(store, run.id, timeout=10)
    assert next(changes).state == "running"
    doing = threading.Thread(target=lambda: [run.do(name) for name in names])
    doing.start()
    assert len(list(changes)) == 2 * len(names) + 1
    doing.join()
    assert reads.count("XREAD") < len(names)


def test_following_no_run_says_so(store: Store) -> None:
    with pytest.raises(NotFoundError, match="there is no run 'nobody'"):
        next(follow(store, "nobody"))


def test_following_ends_when_the_run_is_forgotten_meanwhile(drive: Drive, store: Store) -> None:
    run = drive(operation("a"))
    changes = follow(store, run.id, timeout=10)
    next(changes)
    for key in keys.run_keys(run.id):
        store.command(key, "DEL", key)
    with pytest.raises(NotFoundError, match="gone"):
        next(changes)


def test_a_resumed_run_is_told_over_its_first_end_or_from_its_resumption_on(
    drive: Drive, store: Store
) -> None:
    run = drive(operation("a"), operation("b", ["a"]))
    run.do("a", "failed")
    run.resume()
    run.do("a:1")
    run.cancel()
    run.resume()
    run.do("b:2")
    told = [(c.operation, c.state) for c in follow(store, run.id) if c.state != "running"]
    assert told == [
        ("a", "failed"),
        ("b", "skipped"),
        ("", "failed"),
        ("a", "waiting"),
        ("a", "succeeded"),
        ("", "cancelled"),
        ("b", "succeeded"),
        ("", "succeeded"),
    ]
    last = list(follow(store, run.id, generation=2))
    assert [(change.operation, change.state) for change in last] == [
        ("", "running"),
        ("b", "running"),
        ("b", "succeeded"),
        ("", "succeeded"),
    ]
