"""Turns at a server, script by script, on a real cluster."""

from __future__ import annotations

import uuid

import pytest

from omx_tasks.broker import turns
from omx_tasks.broker.turns import Asking, Next, Turns
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call


class Line:
    """The turns at one server; ``twice`` makes every call two times, as a lost answer does."""

    def __init__(self, store: Store, server: str, *, twice: bool) -> None:
        self.store, self.server, self.twice = store, server, twice

    def call(self, call: Call) -> list[object]:
        first = self.store.run(call)
        assert not self.twice or self.store.run(call) == first
        return list(first)

    def ask(self, *ids: str, resource: str = "", rank: int = 0) -> list[int]:
        askings = [Asking(resource, id_, rank, f"queue of {id_}") for id_ in ids]
        answers = self.call(turns.ask(self.server, askings))
        return [turns.asked(answer)[0] for answer in answers]  # type: ignore[arg-type]

    def pass_on(self, id_: str, resource: str = "") -> str | None:
        told = turns.passed(self.call(turns.pass_on(self.server, resource, id_)))
        if told is None:
            return None
        assert told.queue == f"queue of {told.id}"
        return told.id

    def order(self, first: str, resource: str = "") -> list[str]:
        """Pass the turn on until nobody is left, and return who had it."""
        had, holder = [], first
        while True:
            assert self.ask(holder, resource=resource) == [0]
            had.append(holder)
            following = self.pass_on(holder, resource)
            if following is None:
                return had
            holder = following

    def read(self) -> Turns:
        return turns.read_turns(self.server, self.store.run(turns.read(self.server)))

    def left_over(self) -> dict[str, object]:
        """What is stored when nobody has a turn or waits: no more than the last number."""
        holders, line, places, arrivals = keys.turn_keys(self.server)
        assert self.store.command(holders, "EXISTS", holders) == 0
        assert self.store.command(line, "EXISTS", line) == 0
        assert self.store.command(places, "EXISTS", places) == 0
        found = self.store.command(arrivals, "HGETALL", arrivals)
        return {name.decode(): value for name, value in found.items() if name}


@pytest.fixture(params=[False, True], ids=["once", "twice"])
def line(store: Store, request: pytest.FixtureRequest) -> Line:
    return Line(store, f"server-{uuid.uuid4().hex[:8]}", twice=request.param)


def test_one_has_the_turn_and_the_others_wait(line: Line) -> None:
    assert line.ask("r.a") == [0]
    assert line.ask("r.b", "r.c") == [1, 2]
    assert line.ask("r.a") == [0], "who has the turn keeps it when asked again"
    assert line.ask("r.b") == [1]


def test_it_is_passed_first_in_first_out(line: Line) -> None:
    ids = [f"r.{number}" for number in range(20)]
    line.ask(*ids)
    assert line.order(ids[0]) == ids
    assert line.left_over() == {}


def test_runs_come_as_they_arrived_and_a_run_s_own_by_rank(line: Line) -> None:
    line.ask("one.a")
    line.ask("two.x", rank=900)
    line.ask("one.low", rank=1)
    line.ask("one.high", rank=500)
    line.ask("two.y", rank=1000)
    assert line.order("one.a") == ["one.a", "one.high", "one.low", "two.y", "two.x"]
    assert line.left_over() == {}


def test_a_run_that_left_arrives_anew(line: Line) -> None:
    line.ask("one.a")
    line.ask("two.x", "two.y")
    assert line.pass_on("one.a") == "two.x"
    line.ask("one.b")
    assert line.order("two.x") == ["two.x", "two.y", "one.b"]


def test_resources_have_turns_of_their_own(line: Line) -> None:
    assert line.ask("r.a", resource='"x"') == [0]
    assert line.ask("r.b", resource='"xy"') == [0]
    assert line.ask("r.c", resource='"x"') == [1]
    assert line.ask("r.d", resource='"xy"') == [1]
    assert line.pass_on("r.b", '"xy"') == "r.d"
    assert line.pass_on("r.a", '"x"') == "r.c"


def test_the_next_one_is_named_until_it_has_asked(line: Line) -> None:
    line.ask("r.a", "r.b")
    assert line.pass_on("r.a") == "r.b"
    assert line.pass_on("r.a") == "r.b"
    assert line.ask("r.b") == [0]
    assert line.pass_on("r.a") is None


def test_who_waits_may_leave_the_line(line: Line) -> None:
    line.ask("r.a", "r.b", "r.c")
    line.pass_on("r.b")
    assert line.ask("r.c") == [1]
    assert line.pass_on("r.a") == "r.c"


def test_a_stranger_passes_nothing(line: Line) -> None:
    line.ask("r.a", "r.b")
    line.pass_on("r.other")
    assert line.ask("r.b", "r.a") == [1, 0]


def test_a_run_leaves_as_a_whole(line: Line) -> None:
    line.ask("r.a", "r.d", "gone.b", "gone.c")
    line.ask("gone.e", resource='"x"')
    line.ask("gone.f", resource='"x"')
    found = turns.left(line.store.run(turns.leave(line.server, "gone", 0)))
    assert sorted(one.id for one in found) == ["gone.b", "gone.c", "gone.f"]
    assert turns.left(line.store.run(turns.leave(line.server, "gone", 0))) == []
    assert line.order("r.a") == ["r.a", "r.d"]
    line.pass_on("gone.e")
    assert line.left_over() == {}


def test_it_is_seen_who_has_a_turn_and_who_waits(line: Line) -> None:
    line.ask("one.a", "one.b", "two.c")
    line.ask("two.d", resource='"x"')
    seen = line.read()
    assert sorted(seen.runs) == ["one", "two"]
    whole, other = seen.turns
    assert (whole.resource, whole.id, whole.queue, whole.waiting) == (
        "",
        "one.a",
        "queue of one.a",
        2,
    )
    assert whole.told
    assert whole.oldest is not None
    assert whole.since <= whole.oldest <= seen.time
    assert (other.resource, other.id, other.waiting, other.oldest) == ('"x"', "two.d", 0, None)
    line.pass_on("one.a")
    assert not line.read().turns[0].told
    before = [line.store.run(turns.before(line.server, run)) for run in ("one", "two", "three")]
    assert [turns.read_before(answer) for answer in before] == [
        {"one.b": 0},
        {"two.c": 1, "two.d": 0},
        {},
    ]


def test_who_waits_tells_of_one_that_does_not_come(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.ask("r.a", "r.b", "r.c")
    line.pass_on("r.a")
    asking = [Asking("", "r.c", 0, "queue of r.c")]
    (answer,) = line.store.run(turns.ask(line.server, asking))
    assert turns.asked(answer) == (1, None)
    _, _, places, _ = keys.turn_keys(line.server)
    state, resource, queue, since, member = (
        line.store.command(places, "HGET", places, "r.b").decode().split("\1", 4)
    )
    earlier = str(int(since) - 2_000_000)
    line.store.command(
        places, "HSET", places, "r.b", "\1".join((state, resource, queue, earlier, member))
    )
    (answer,) = line.store.run(turns.ask(line.server, asking))
    assert turns.asked(answer) == (1, Next("r.b", "queue of r.b"))
