"""Writes take turns: over agents and runs, through deaths and cancelled runs, and reads never wait for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from book import Book
from fleet import Fleet, one, states

from omx_tasks.broker import queues, turns
from omx_tasks.broker.routing import queue_of
from omx_tasks.broker.turns import Asking, Turns
from omx_tasks.graph.marker import task_id
from omx_tasks.graph.model import Operation
from omx_tasks.results import joins
from omx_tasks.results.joins import Beginning, Ending, Outcome
from omx_tasks.runs import turns as runs_turns
from omx_tasks.runs.turns import free
from omx_tasks.store import keys
from omx_tasks.store.client import Store

Until = Callable[..., None]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


@pytest.fixture
def pages(tmp_path: Path) -> Book:
    """A book whose pages have turns of their own."""
    return Book(tmp_path, {"resource": "page"})


@pytest.fixture
def fleet(
    cluster_url: str, store: Store, tmp_path: Path, book: Book, pages: Book, until: Until
) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, cluster_url, store, until, {**book.servers(), **pages.servers()})
    yield fleet
    fleet.stop()


def seen(store: Store, book: Book) -> Turns:
    return turns.read_turns(book.name, store.run(turns.read(book.name)))


def waiting(store: Store, book: Book) -> int:
    return sum(turn.waiting for turn in seen(store, book).turns)


def test_writes_of_several_runs_and_agents_are_made_one_by_one(
    fleet: Fleet, book: Book, store: Store
) -> None:
    for _ in range(2):
        fleet.start(slots=8)
    runs = [
        fleet.submit(*(book.call(f"r{run}w{n}", arguments={"seconds": 0.01}) for n in range(20)))
        for run in range(3)
    ]
    for run in runs:
        assert run.wait(60).state == "succeeded"
    assert set(book.counted().values()) == {1}
    assert len(book.counted()) == 60
    assert book.most_at_once() == 1
    assert seen(store, book).turns == []
    used = {one(run.status(), name).agent for run in runs for name in run.status().operations}
    assert len(used) == 2, "both agents did some of it"
    assert all(
        one(run.status(), name).attempts == 1 for run in runs for name in run.status().operations
    )


def test_a_run_s_writes_come_by_rank(
    fleet: Fleet, book: Book, store: Store, tmp_path: Path
) -> None:
    fleet.start(slots=8)
    ids = [f"w{n}" for n in range(10)]
    following = [
        book.call(f"after_{name}", "read", needs=[name], expect=float(n + 1))
        for n, name in enumerate(ids)
    ]
    gate = tmp_path / "gate"
    first = book.call("first", arguments={"gate": str(gate)})
    run = fleet.submit(first)
    fleet.until(lambda: book.begun() == ["first"])
    then = fleet.submit(*(book.call(name, expect=0.1) for name in ids), *following)
    fleet.until(lambda: waiting(store, book) == len(ids))
    gate.touch()
    assert then.wait(60).state == "succeeded"
    assert run.wait(60).state == "succeeded"
    assert book.begun() == ["first", *reversed(ids)]


def test_runs_come_in_the_order_in_which_they_came_to_the_line(
    fleet: Fleet, book: Book, store: Store, tmp_path: Path
) -> None:
    fleet.start(slots=4)
    gate = tmp_path / "gate"
    slow = book.call("slow", arguments={"gate": str(gate)})
    runs = [fleet.submit(slow)]
    fleet.until(lambda: book.begun() == ["slow"])
    for run in range(3):
        runs.append(fleet.submit(*(book.call(f"r{run}w{n}") for n in range(5))))
        fleet.until(lambda run=run: waiting(store, book) == 5 * (run + 1))
    gate.touch()
    for one_run in runs:
        assert one_run.wait(60).state == "succeeded"
    assert [key[:2] for key in book.begun()[1:]] == ["r0"] * 5 + ["r1"] * 5 + ["r2"] * 5


def test_resources_are_written_side_by_side_and_each_in_turn(fleet: Fleet, pages: Book) -> None:
    for _ in range(2):
        fleet.start(slots=16)
    fleet.run(pages.call("warm", "read"))
    calls = [
        pages.call(f"p{page}w{n}", arguments={"page": f"p{page}", "seconds": 0.1})
        for page in range(4)
        for n in range(5)
    ]
    view = fleet.run(*calls)
    assert view.state == "succeeded"
    assert {pages.most_at_once(f"p{page}") for page in range(4)} == {1}
    assert pages.most_at_once() > 1


def test_a_resource_may_be_a_value_of_an_earlier_operation(fleet: Fleet, pages: Book) -> None:
    fleet.start(slots=8)
    named = pages.call("named", "read", arguments={"key": "chapter"})
    calls = [
        pages.call(f"w{n}", arguments={"page": "${named.text}", "seconds": 0.05}) for n in range(4)
    ]
    each = Operation(
        id="each",
        server=pages.name,
        tool="write",
        foreach="${['chapter', 'other']}",
        arguments={"page": "${item}", "key": "${item}", "seconds": 0.05},
    )
    view = fleet.run(named, *calls, each)
    assert view.state == "succeeded"
    assert pages.most_at_once("chapter") == 1
    assert {page for _, page, _ in pages.lines()} == {"chapter", "other"}
    assert all(one(view, f"w{n}").attempts == 1 for n in range(4))


def test_the_turn_survives_the_death_of_its_holder(fleet: Fleet, book: Book) -> None:
    first = fleet.start(slots=8, lease=2)
    run = fleet.submit(book.call("held", arguments={"hang": True}, timeout=60))
    fleet.until(lambda: book.begun() == ["held"])
    others = fleet.submit(*(book.call(f"w{n}") for n in range(10)))
    fleet.start(slots=8, lease=2)
    first.signal(signal.SIGKILL)
    assert states(run.wait(60)) == {"held": "unknown"}
    assert others.wait(60).state == "succeeded"
    assert book.counted() == {"held": 1, **{f"w{n}": 1 for n in range(10)}}
    assert one(others.status(), "w0").attempts == 1


def test_a_hung_call_keeps_the_turn_until_its_timeout(fleet: Fleet, book: Book) -> None:
    fleet.start(slots=8)
    run = fleet.submit(book.call("hung", arguments={"hang": True}, timeout=1))
    fleet.until(lambda: book.begun() == ["hung"])
    after = fleet.submit(book.call("after"))
    view, following = run.wait(60), after.wait(60)
    assert states(view) == {"hung": "unknown"}
    assert following.state == "succeeded"
    assert (one(following, "after").started or 0) >= (one(view, "hung").finished or 0)


def test_a_thousand_waiting_writes_block_no_reads(fleet: Fleet, book: Book, store: Store) -> None:
    for _ in range(2):
        fleet.start(slots=8)
    held = fleet.submit(book.call("held", arguments={"hang": True}, timeout=600))
    fleet.until(lambda: book.begun() == ["held"])
    run = fleet.submit(*(book.call(f"w{n}") for n in range(1000)))
    fleet.until(lambda: waiting(store, book) == 1000)
    view = fleet.run(*(book.call(f"r{n}", "read") for n in range(200)))
    assert view.state == "succeeded"
    assert states(held.status()) == {"held": "running"}
    assert book.begun() == ["held"]
    print(f"200 reads beside 1,000 waiting writes: {view.seconds:.2f} s")
    ended = time.monotonic()
    held.cancel()
    assert run.wait(120).state == "succeeded"
    print(f"1,000 writes in turn: {time.monotonic() - ended:.2f} s")
    assert book.counted() == {"held": 1, **{f"w{n}": 1 for n in range(1000)}}
    assert len(book.lines()) == 2001


def test_a_cancelled_run_gives_up_its_turn_and_its_places(
    fleet: Fleet, book: Book, store: Store
) -> None:
    first = fleet.start(slots=8, lease=2)
    held = fleet.submit(book.call("held", arguments={"hang": True}, timeout=600))
    fleet.until(lambda: book.begun() == ["held"])
    gone = fleet.submit(*(book.call(f"gone{n}") for n in range(20)))
    fleet.until(lambda: waiting(store, book) == 20)
    run = fleet.submit(*(book.call(f"w{n}") for n in range(20)))
    fleet.until(lambda: waiting(store, book) == 40)
    gone.cancel()
    fleet.until(lambda: waiting(store, book) == 20)
    first.signal(signal.SIGKILL)
    held.cancel()
    fleet.start(slots=8)
    assert run.wait(60).state == "succeeded"
    assert book.counted() == {"held": 1, **{f"w{n}": 1 for n in range(20)}}


def test_a_run_that_is_gone_gives_up_its_places(fleet: Fleet, book: Book, store: Store) -> None:
    fleet.start(slots=8)
    held = fleet.submit(book.call("held", arguments={"hang": True}, timeout=600))
    fleet.until(lambda: book.begun() == ["held"])
    gone = fleet.submit(*(book.call(f"gone{n}") for n in range(5)))
    fleet.until(lambda: waiting(store, book) == 5)
    for key in keys.run_keys(gone.id):
        store.command(key, "DEL", key)
    free(store)
    assert waiting(store, book) == 0
    held.cancel(timeout=60)
    assert book.begun() == ["held"]


def test_whoever_was_not_woken_is_woken_again(
    fleet: Fleet, book: Book, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.start(slots=8)
    held = fleet.submit(book.call("held", arguments={"hang": True}, timeout=600))
    fleet.until(lambda: book.begun() == ["held"])
    run = fleet.submit(*(book.call(f"w{n}") for n in range(5)))
    fleet.until(lambda: waiting(store, book) == 5)
    # The turn is passed, as by an agent that dies before it has told the next one.
    told = turns.passed(store.run(turns.pass_on(book.name, "", task_id(held.id, "held"))))
    assert told is not None
    assert free(store) == 0
    assert book.begun() == ["held"]
    monkeypatch.setattr(runs_turns, "LONG", 0.0)
    free(store)
    assert run.wait(60).state == "succeeded"
    held.cancel(timeout=60)


def test_it_is_seen_who_waits_for_whom(
    fleet: Fleet, book: Book, pages: Book, store: Store, tmp_path: Path
) -> None:
    def omx(*words: str) -> str:
        environ = {**os.environ, "OMX_BROKER_URL": fleet.url}
        command = [str(Path(sys.executable).with_name("omx")), *words]
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    fleet.start(slots=8)
    held = fleet.submit(book.call("held", arguments={"hang": True}, timeout=600))
    fleet.until(lambda: book.begun() == ["held"])
    run = fleet.submit(book.call("w0"), book.call("r0", "read"))
    fleet.until(lambda: waiting(store, book) == 1)

    status = omx("status", run.id)
    assert f"waits for its turn on {book.name} (1 before it)" in status
    found = [turn for turn in json.loads(omx("turns", "--json")) if turn["server"] == book.name]
    assert [(one["operation"], one["told"], one["waiting"], one["resource"]) for one in found] == [
        (task_id(held.id, "held"), True, 1, None)
    ]
    assert book.name in omx("turns")

    graph = tmp_path / "graph.yaml"
    operations = [book.call("a"), book.call("b", "read"), pages.call("c"), pages.call("d", "set")]
    document = {
        "name": "seen",
        "operations": [
            {"id": one.id, "server": one.server, "tool": one.target, "arguments": {"key": "k"}}
            for one in operations
        ],
    }
    graph.write_text(json.dumps(document))
    planned = omx("plan", str(graph))
    assert f"These take turns at {book.name}: a\n" in planned
    assert f"These take turns at {pages.name}, each page: c, d\n" in planned
    steps = json.loads(omx("plan", str(graph), "--json"))["operations"]
    assert steps["b"]["turns"] is None
    run.cancel()
    held.cancel(timeout=60)


def test_what_is_over_when_it_is_delivered_again_does_not_wait_for_a_turn(
    fleet: Fleet, book: Book, store: Store
) -> None:
    store.run(turns.ask(book.name, [Asking("", "other.held", 0, "nowhere")]))
    call = book.call("x")
    queue = queue_of(call.capabilities)
    run = fleet.submit(call, book.call("y"))
    # As by an agent that dies after it has stored the outcome and passed the turn, before it acks the message.
    store.run(queues.claim(queue, "token", most=1, lease=1))
    store.run(joins.start(run.id, "dead", [Beginning("x", "token")]))
    store.run(joins.finish(run.id, [Ending("x", Outcome("succeeded", 1, "dead"), False)]))
    fleet.start(slots=8)

    def counted() -> dict[str, int]:
        return queues.read_stats(store.run(queues.stats(queue))).counters

    fleet.until(lambda: counted().get("acked") == 1 and counted().get("parked") == 1)
    assert waiting(store, book) == 1, "it is y that waits"


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_in_celery_s_own_pools_nobody_waits_for_a_turn_either(
    fleet: Fleet, book: Book, store: Store, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as it is delivered, what waits is set aside: its slot is free, and it is not given up."""
    monkeypatch.setenv("OMX_MOST_DELIVERIES", "1")
    store.run(turns.ask(book.name, [Asking("", "other.held", 0, "nowhere")]))
    fleet.start(options=["-P", pool, "-c", "1", "--without-mingle"])
    call = book.call("w")
    queue = queue_of(call.capabilities)
    run = fleet.submit(call)

    def parked(times: int) -> bool:
        return queues.read_stats(store.run(queues.stats(queue))).counters.get("parked") == times

    fleet.until(lambda: parked(1))
    store.run(queues.wake(queue, [task_id(run.id, "w")]))
    fleet.until(lambda: parked(2))
    assert fleet.run(book.call("r", "read")).succeeded
    assert book.begun() == []
    following = turns.passed(store.run(turns.pass_on(book.name, "", "other.held")))
    assert following is not None
    store.run(following.wake())
    assert one(run.wait(60), "w").attempts == 1
    assert run.status().succeeded
