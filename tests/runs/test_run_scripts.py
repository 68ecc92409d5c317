"""Every script may run twice: a request whose answer was lost is sent again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from driven import Drive, Driven, names, operation

from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins
from omx_tasks.results.joins import Beginning, Ending, Following, Outcome, Start
from omx_tasks.store import keys
from omx_tasks.store.client import Store


def _graph() -> list[object]:
    return [
        operation("a"),
        operation("b", ["a"]),
        operation("c", ["a"]),
        operation("each", ["b"], foreach="${a.structured}"),
        operation("end", ["c", "each"]),
    ]


def _start(run: Driven) -> None:
    run.start("a")


def _finish(run: Driven) -> None:
    run.start("a")
    run.finish("a", text="1")


def _fail(run: Driven) -> None:
    run.start("a")
    run.finish("a", "failed")


def _unknown(run: Driven) -> None:
    run.start("a")
    run.finish("a", "unknown")


def _expand(run: Driven) -> None:
    run.do("a")
    run.do("b")
    run.start("each")
    run.expand("each", [1, 2])


def _expand_nothing(run: Driven) -> None:
    run.do("a")
    run.do("b")
    run.start("each")
    run.expand("each", [])


def _item(run: Driven) -> None:
    _expand(run)
    run.do("each[1]", text="2")
    run.do("each[0]", "failed")


def _go_on(run: Driven) -> None:
    run.start("a")
    run.finish("a", following=Following("b", "token of b", "a", ("a",)), text="1")


def _set_free(run: Driven) -> None:
    _go_on(run)
    run.start("a", "of whoever got its message next")
    run.start("b")


def _cancel(run: Driven) -> None:
    run.start("a")
    run.cancel()
    run.finish("a")


def _send(run: Driven) -> None:
    run.start("a", "delivery")
    run.send("a", "delivery")


def _all(run: Driven) -> None:
    _expand(run)
    for name in ("each[0]", "each[1]", "c", "end"):
        run.do(name)


STORIES = [
    _start, _finish, _fail, _unknown, _expand, _expand_nothing, _item, _go_on, _set_free, _cancel,
    _send, _all,
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__.strip("_"))
def test_calling_every_script_twice_stores_the_same_as_calling_it_once(
    drive: Drive, story: Callable[[Driven], None]
) -> None:
    once, twice = drive(*_graph()), drive(*_graph(), twice=True)
    story(once)
    story(twice)
    assert once.stored() == twice.stored()


def test_a_repeated_call_answers_what_the_first_one_made_ready(drive: Drive) -> None:
    run = drive(*_graph())
    run.start("a")
    assert run.finish("a") == run.finish("a") == ["b", "c"]
    run.do("b")
    run.start("each")
    assert run.expand("each", [1, 2]) == run.expand("each", [1, 2]) == ["each[0]", "each[1]"]
    assert run.start("each[0]").verdict == "go"
    assert run.expand("each", [1, 2]) == ["each[1]"]


def test_a_repeated_expansion_without_items_answers_the_successors_again(drive: Drive) -> None:
    run = drive(
        operation("a"), operation("each", foreach="${a.structured}"), operation("b", ["each"])
    )
    run.do("a")
    run.start("each")
    assert run.expand("each", []) == run.expand("each", []) == ["b"]


def test_a_long_list_comes_in_parts_and_ends_with_its_last_item(drive: Drive) -> None:
    run = drive(
        operation("a"), operation("each", foreach="${a.structured}"), operation("b", ["each"])
    )
    run.do("a")
    run.start("each")
    items = [0, 1, 2, 3, 4]
    assert run.expand_part("each", items, 0, 2) == ["each[0]", "each[1]"]
    assert run.do("each[0]") == run.do("each[1]") == []
    assert run.states()["each"] == ["succeeded"] * 2 + ["waiting"] * 3
    # Whoever expanded it died: it is delivered again, and begins anew.
    assert run.start("each").attempt == 2
    assert run.expand_part("each", items, 0, 2) == []
    assert run.expand_part("each", items, 2, 2) == ["each[2]", "each[3]"]
    assert run.expand_part("each", items, 4, 2) == ["each[4]"]
    assert run.stored()["outbox"] == ["each[2]", "each[3]", "each[4]"]
    assert [run.do(f"each[{number}]") for number in (4, 2, 3)] == [[], [], ["b"]]


def test_a_large_graph_is_stored_in_parts_and_is_the_same_in_the_end(
    drive: Drive, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = drive(*_graph())
    monkeypatch.setattr(joins, "PREPARED", 2)
    parts = Driven(store, whole.plan, twice=True)
    prepared = joins.prepare(parts.id, parts.plan)
    assert [parts.call(call) for call in prepared] == [1, 1]
    waits = keys.waits(parts.id)
    assert 0 < store.command(waits, "TTL", waits) <= joins.STILLBORN, "it may never be submitted"
    stored = StoredPlan.of(parts.plan, {})
    submit = joins.submit(parts.id, parts.plan, stored, keep=60, prepared=len(prepared))
    assert parts.call(submit) == [b"a"]
    assert store.command(waits, "TTL", waits) == -1
    assert parts.stored() == whole.stored()
    assert parts.do("a") == whole.do("a") == ["b", "c"]
    assert [store.run(call) for call in prepared] == [0, 0], "the counters go on counting"
    assert parts.stored()["waits"] == whole.stored()["waits"]


def test_the_same_delivery_is_one_attempt_and_the_next_delivery_another(drive: Drive) -> None:
    run = drive(operation("a"))
    assert [run.start("a", token).attempt for token in ("x", "x", "y", "y")] == [1, 1, 2, 2]


def test_what_was_released_by_a_write_that_was_lost_is_early_until_it_is_released_again(
    drive: Drive,
) -> None:
    """The message of a successor may be there although the finish before it was lost with its node."""
    run, same = drive(*_graph()), drive(*_graph())
    for driven in (run, same):
        driven.start("a")
    assert [run.start("b").verdict, run.start("each[0]").verdict] == ["early", "early"]
    assert run.stored() == same.stored()
    assert run.finish("a") == ["b", "c"]
    assert [run.start("b").verdict, run.start("b").attempt] == ["go", 2]
    assert run.start("end").verdict == "early"
    run.finish("b")
    assert run.start("b").verdict == "over"


B_AFTER_A = Following("b", "token of b", "a", ("a",))


@pytest.mark.parametrize("twice", [False, True])
def test_one_that_became_ready_goes_on_where_the_one_before_ended(
    drive: Drive, twice: bool
) -> None:
    run = drive(*_graph(), twice=twice)
    run.start("a")
    assert run.finish("a", following=B_AFTER_A, text="1") == ["c"]
    value = {"text": "1", "error": None}
    assert run.begun == Start("go", 1, values={"a": value})
    assert run.states()["b"] == "running"
    assert run.start("b").verdict == "early", "nobody else may have it"
    end = Following("each", "token of each", "a", ("a",))
    assert run.finish("b", following=end) == []
    assert run.begun == Start("go", 1, values={"a": value})
    assert run.start("b").verdict == "over"


def test_what_is_not_ready_does_not_go_on(drive: Drive) -> None:
    run = drive(*_graph())
    run.do("a")
    run.start("c")
    assert run.finish("c", following=Following("end", "token", "c")) == []
    assert run.begun is None
    assert run.states()["end"] == "waiting"


def test_what_failed_is_not_gone_on_from(drive: Drive) -> None:
    run = drive(*_graph())
    run.start("a")
    assert run.finish("a", "failed", following=B_AFTER_A) == []
    assert run.begun is None
    assert run.states()["b"] == "skipped"


def test_when_the_message_before_comes_back_what_it_stood_for_gets_its_own(drive: Drive) -> None:
    run = drive(*_graph())
    _go_on(run)
    for _ in range(2):
        assert run.start("a", "next") == Start("over", carried="b")
    assert run.start("b", "x").attempt == 2
    assert run.start("a", "next") == Start("over"), "it has a message of its own now"
    run.finish("b")
    assert run.start("a", "late") == Start("over")


def test_what_went_on_before_its_run_was_resumed_begins_anew_with_a_message(drive: Drive) -> None:
    run = drive(*_graph())
    _go_on(run)
    run.cancel()
    plan = StoredPlan.of(run.plan, {})
    words = run.call(joins.resume(run.id, plan, "again"))
    assert names(words) == ["resumed", "1", "b:1", "c:1"]
    assert run.start("b").verdict == "over"
    (answer,) = run.call(joins.start(run.id, "agent", [Beginning("b:1", "new", ("a",))]))
    start = joins.started(answer, ("a",))
    assert (start.verdict, start.attempt) == ("go", 2), "it was interrupted"
    following = Following("each:1", "token", "b:1", ("a",))
    ending = Ending("b:1", Outcome("succeeded"), False, following)
    (part,) = run.call(joins.finish(run.id, [ending], "agent"))
    done = joins.finished(part, following)
    assert done.begun is not None
    assert (done.ready, done.begun.verdict) == ([], "go")
    (answer,) = run.call(joins.start(run.id, "agent", [Beginning("b:1", "next")]))
    assert joins.started(answer, ()) == Start("over", carried="each:1")


def test_the_message_before_stands_for_the_last_of_those_that_followed(drive: Drive) -> None:
    run = drive(operation("a"), operation("b", ["a"]), operation("c", ["b"]))
    run.start("a")
    run.finish("a", following=Following("b", "token of b", "a"))
    run.finish("b", following=Following("c", "token of c", "a"))
    assert run.start("b", "a message that should not be") == Start("over")
    assert run.start("c", "nor this one").verdict == "early"
    assert run.start("a", "next") == Start("over", carried="c")


def test_no_key_of_a_run_outlives_it_even_when_operations_end_after_its_cancellation(
    drive: Drive, store: Store
) -> None:
    run = drive(*_graph())
    run.start("a")
    run.cancel()
    run.finish("a", text="late")
    for key in keys.run_keys(run.id):
        assert store.command(key, "TTL", key) != -1, key


def test_a_finished_run_goes_as_a_whole(drive: Drive, store: Store) -> None:
    run = drive(operation("a"))
    run.do("a", text="1")
    times = [store.command(key, "TTL", key) for key in keys.run_keys(run.id)]
    assert all(left == -2 or 0 < left <= 60 for left in times)


def test_what_begins_and_ends_together_comes_to_the_same_as_one_by_one(drive: Drive) -> None:
    run = drive(
        operation("a"), operation("b"), operation("c", on_failure="continue"),
        operation("join", ["a", "b", "c"]), operation("alone", ["b"]),
    )  # fmt: skip
    run.do("b")
    beginnings = [Beginning(name, f"token of {name}") for name in ("a", "b", "c", "a")]
    answers = [
        joins.started(answer, ()) for answer in run.call(joins.start(run.id, "x", beginnings))
    ]
    assert [(answer.verdict, answer.attempt) for answer in answers] == [
        ("go", 1), ("over", 0), ("go", 1), ("go", 1),
    ]  # fmt: skip

    endings = [
        Ending("a", Outcome("succeeded"), goes_on=False),
        Ending("b", Outcome("failed"), goes_on=False),
        Ending("c", Outcome("failed"), goes_on=True),
    ]
    parts = run.call(joins.finish(run.id, endings))
    assert [joins.finished(part).ready for part in parts] == [[], ["alone"], ["join"]]
    assert run.states() == {
        "a": "succeeded", "b": "succeeded", "c": "failed", "join": "waiting", "alone": "waiting",
    }  # fmt: skip
    assert run.call(joins.finish("none", endings)) == [[[]]] * 3
    nowhere = run.call(joins.start("none", "x", beginnings[:2]))
    assert [joins.started(answer, ()).verdict for answer in nowhere] == ["gone", "gone"]


def test_the_last_ending_says_how_the_run_ended_also_when_it_is_told_twice(drive: Drive) -> None:
    run = drive(operation("a"), operation("b", on_failure="continue"))
    assert run.start("a").verdict == run.start("b").verdict == "go"

    def finish(name: str, state: str, goes_on: bool) -> joins.Finished:
        (part,) = run.call(joins.finish(run.id, [Ending(name, Outcome(state, 1), goes_on)]))
        return joins.finished(part)

    assert finish("a", "succeeded", False) == ([], None, None)
    for _ in range(2):
        assert finish("b", "failed", True) == ([], None, "succeeded")
