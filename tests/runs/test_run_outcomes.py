"""What one operation's end means for the others."""

from __future__ import annotations

from typing import Any

import pytest
from driven import Drive, Driven, operation


def test_the_first_outcome_wins(drive: Drive) -> None:
    run = drive(operation("a"), operation("b", ["a"]))
    run.start("a")
    assert run.finish("a", "succeeded", text="first") == ["b"]
    run.finish("a", "failed")
    view = run.view().operations["a"]
    assert (view.state, view.text, view.error) == ("succeeded", "first", None)


def test_a_join_is_released_once_by_the_last_of_what_it_waits_for(drive: Drive) -> None:
    parts = [f"p{number}" for number in range(20)]
    run = drive(*(operation(name) for name in parts), operation("join", parts))
    released = []
    for name in parts:
        run.start(name)
        released.append(run.finish(name))
        run.finish(name)  # repeated: must not count
    assert released == [[]] * 19 + [["join"]]


def test_after_a_failure_dependents_are_skipped_all_the_way_and_independent_work_goes_on(
    drive: Drive,
) -> None:
    run = drive(
        operation("a"),
        operation("b", ["a"]),
        operation("c", ["b", "x"]),
        operation("x"),
        operation("y", ["x"]),
    )
    assert run.do("a", "failed") == []
    assert run.do("x") == ["y"]
    assert run.view().state == "running"
    run.do("y")
    assert run.states() == {
        "a": "failed",
        "x": "succeeded",
        "b": "skipped",
        "c": "skipped",
        "y": "succeeded",
    }
    assert run.view().state == "failed"


def test_a_skipped_operation_is_not_begun(drive: Drive) -> None:
    run = drive(operation("a"), operation("b", ["a"]))
    run.do("a", "failed")
    assert run.start("b").verdict == "over"


def test_with_continue_dependents_run_and_see_the_error(drive: Drive) -> None:
    run = drive(
        operation("a", on_failure="continue"),
        operation("b", arguments={"said": "${a.error.message}"}),
    )
    assert run.do("a", "failed") == ["b"]
    started = run.start("b")
    assert started.values["a"]["error"] == {"kind": "tool", "message": "a failed"}
    run.finish("b")
    assert run.view().state == "succeeded"


@pytest.mark.parametrize("state", ["unknown", "cancelled"])
@pytest.mark.parametrize("on_failure", ["fail", "continue"])
def test_what_is_neither_done_nor_refused_makes_the_run_failed(
    drive: Drive, state: str, on_failure: str
) -> None:
    run = drive(operation("a", on_failure=on_failure))
    run.do("a", state)
    assert run.view().state == "failed"
    assert run.states() == {"a": state}


def test_references_give_the_values_of_earlier_operations(drive: Drive) -> None:
    run = drive(operation("a"), operation("b", arguments={"x": "${a.structured.n}"}))
    run.do("a", text="t", structured={"n": 3}, content=[])
    assert run.start("b").values == {
        "a": {"text": "t", "structured": {"n": 3}, "content": [], "error": None}
    }


@pytest.mark.parametrize("count", [1, 10_000])
def test_a_foreach_releases_its_items_at_once_and_its_successors_after_the_last(
    drive: Drive, count: int
) -> None:
    run = drive(
        operation("a"),
        operation("each", foreach="${a.structured}"),
        operation("end", arguments={"all": "${each[*].text}"}),
    )
    run.do("a")
    run.start("each")
    items = [f"each[{index}]" for index in range(count)]
    assert run.expand("each", list(range(count))) == items
    assert run.start(items[-1]).item == count - 1
    few = items[:100]
    for name in few[:-1]:
        assert run.do(name, text=name) == []
    if count == 1:
        assert run.finish("each[0]", text="last") == ["end"]
        assert [value["text"] for value in run.start("end").values["each"]] == ["last"]
        assert run.states()["each"] == ["succeeded"]


def test_a_foreach_without_items_succeeds_and_is_seen_as_an_empty_list(drive: Drive) -> None:
    run = drive(
        operation("a"),
        operation("each", foreach="${a.structured}"),
        operation("end", arguments={"all": "${length(each)}"}),
    )
    run.do("a")
    run.start("each")
    assert run.expand("each", []) == ["end"]
    assert run.start("end").values == {"each": []}
    run.finish("end")
    assert (run.view().state, run.view().operations["each"]) == ("succeeded", [])


@pytest.mark.parametrize("bad", ["failed", "unknown", "cancelled"])
def test_one_item_that_did_not_succeed_fails_its_foreach_and_skips_what_follows(
    drive: Drive, bad: str
) -> None:
    run = drive(
        operation("a"), operation("each", foreach="${a.structured}"), operation("end", ["each"])
    )
    run.do("a")
    run.start("each")
    run.expand("each", [1, 2, 3])
    assert run.do("each[0]") == []
    assert run.do("each[2]", bad) == []
    assert run.do("each[1]") == []
    assert run.states() == {
        "a": "succeeded",
        "each": ["succeeded", "succeeded", bad],
        "end": "skipped",
    }
    assert run.view().state == "failed"


def test_a_foreach_that_may_fail_goes_on_after_its_last_item(drive: Drive) -> None:
    run = drive(
        operation("a"),
        operation("each", foreach="${a.structured}", on_failure="continue"),
        operation("end", arguments={"all": "${each[*].text}"}),
    )
    run.do("a")
    run.start("each")
    run.expand("each", [1, 2])
    assert run.do("each[0]", "failed") == []
    assert run.do("each[1]", text="2") == ["end"]
    errors = [value["error"] for value in run.start("end").values["each"]]
    assert [error and error["kind"] for error in errors] == ["tool", None]
    run.finish("end")
    assert run.view().state == "succeeded"


def test_after_a_cancellation_nothing_is_begun_and_what_ran_is_followed_by_nothing(
    drive: Drive,
) -> None:
    run = drive(operation("a"), operation("b", ["a"]), operation("c"))
    run.start("a")
    assert run.cancel() == "cancelled"
    assert run.cancel() == "cancelled"
    assert run.start("c").verdict == "over"
    assert run.finish("a", text="done all the same") == []
    assert run.states() == {"a": "succeeded", "c": "cancelled", "b": "cancelled"}
    assert run.view().state == "cancelled"


def test_a_finished_run_cannot_be_cancelled(drive: Drive) -> None:
    run = drive(operation("a"))
    run.do("a")
    assert run.cancel() == "succeeded"
    assert run.view().state == "succeeded"


def test_what_was_interrupted_in_a_cancelled_run_is_unknown_and_what_was_not_begun_is_cancelled(
    drive: Drive,
) -> None:
    run = drive(operation("a"), operation("b"))
    run.start("a", "lost agent")
    run.start("b", "slow network")
    run.cancel()
    assert run.start("a", "next delivery").verdict == "over"
    assert run.start("b", "slow network").verdict == "over"
    assert run.states() == {"a": "unknown", "b": "cancelled"}


def test_a_run_that_is_gone_is_told_apart_from_one_that_is_over(drive: Drive) -> None:
    run = drive(operation("a"))
    run.id = "no-such-run"
    assert run.start("a").verdict == "gone"
    assert run.finish("a") == []
    assert run.cancel() == ""


# --- calls that must not be made twice --------------------------------------------------------------


def test_an_operation_that_was_begun_and_not_sent_is_sent_by_the_next_delivery(
    drive: Drive,
) -> None:
    run = drive(operation("a"))
    run.start("a", "lost-agent")
    assert run.start("a", "next-delivery").attempt == 2
    assert run.send("a", "next-delivery") == "go"


def test_a_call_that_was_sent_is_told_to_the_next_delivery_and_not_sent_again(
    drive: Drive,
) -> None:
    run = drive(operation("a"))
    run.start("a", "lost-agent")
    for _ in range(2):
        assert run.send("a", "lost-agent", '{"agent": "one of them"}') == "go"
    run.start("a", "next-delivery")
    assert run.send("a", "next-delivery") == '{"agent": "one of them"}'
    run.start("a", "third-delivery")
    assert run.send("a", "third-delivery") == '{"agent": "one of them"}'


def test_who_lost_an_operation_may_not_send_it_any_more(drive: Drive) -> None:
    run = drive(operation("a"))
    run.start("a", "slow-agent")
    run.start("a", "next-delivery")
    assert run.send("a", "slow-agent") == "gone"
    assert run.send("a", "next-delivery") == "go"
    run.finish("a")
    assert run.send("a", "next-delivery") == "gone"


def test_a_beginning_that_was_lost_with_its_master_is_begun_again_before_anything_is_sent(
    drive: Drive,
) -> None:
    run = drive(operation("a"))
    assert run.send("a", "delivery") == "gone"
    run.start("a", "delivery")
    assert run.send("a", "delivery") == "go"


def test_nothing_is_sent_in_a_run_that_was_cancelled(drive: Drive) -> None:
    run = drive(operation("a"))
    run.start("a", "delivery")
    run.cancel()
    assert run.send("a", "delivery") == "over"


# --- fallbacks ------------------------------------------------------------------------------------


def _with_fallback(drive: Drive, **fields: Any) -> Driven:
    return drive(
        operation("a", fallback="b", **fields),
        operation("b"),
        operation("end", arguments={"value": "${a.text}"}),
    )


def test_a_fallback_that_is_not_needed_is_skipped_and_the_run_succeeds(drive: Drive) -> None:
    run = _with_fallback(drive)
    assert run.do("a", text="own") == ["end"]
    assert run.start("end").values["a"]["text"] == "own"
    run.finish("end")
    assert run.states() == {"a": "succeeded", "b": "skipped", "end": "succeeded"}
    assert run.view().state == "succeeded"


def test_a_fallback_runs_in_the_place_of_what_failed_and_its_value_is_what_dependents_see(
    drive: Drive,
) -> None:
    run = _with_fallback(drive)
    assert run.do("a", "failed") == run.finish("a", "failed") == ["b"]
    assert run.do("b", text="instead") == ["end"]
    seen = run.start("end").values["a"]
    assert (seen["text"], seen["error"]) == ("instead", None)
    run.finish("end")
    assert run.states() == {"a": "failed", "b": "succeeded", "end": "succeeded"}
    assert run.view().state == "succeeded"


def test_when_the_fallback_fails_too_the_operation_has_failed(drive: Drive) -> None:
    run = _with_fallback(drive)
    run.do("a", "failed")
    assert run.do("b", "failed") == []
    assert run.states() == {"a": "failed", "b": "failed", "end": "skipped"}
    assert run.view().state == "failed"


def test_what_may_go_on_after_a_failure_goes_on_after_that_of_the_fallback(drive: Drive) -> None:
    run = _with_fallback(drive, on_failure="continue")
    assert run.do("a", "failed") == ["b"]
    assert run.do("b", "failed") == ["end"]
    assert run.start("end").values["a"]["error"]["message"] == "b failed"
    run.finish("end")
    assert run.view().state == "succeeded"


def test_no_fallback_runs_after_what_may_have_been_done(drive: Drive) -> None:
    run = _with_fallback(drive)
    assert run.do("a", "unknown") == []
    assert run.states() == {"a": "unknown", "b": "skipped", "end": "skipped"}
    assert run.view().state == "failed"


def test_a_fallback_may_have_needs_refer_to_what_failed_and_have_a_fallback(drive: Drive) -> None:
    run = drive(
        operation("n"),
        operation("a", fallback="b"),
        operation("b", ["n"], fallback="c", arguments={"why": "${a.error.message}"}),
        operation("c", arguments={"why": "${b.error.message}"}),
        operation("end", ["a"]),
    )
    assert run.do("a", "failed") == []
    assert run.do("n") == ["b"]
    assert run.start("b").values["a"]["error"]["message"] == "a failed"
    assert run.finish("b", "failed") == ["c"]
    assert run.start("c").values["b"]["error"]["message"] == "b failed"
    assert run.finish("c") == ["end"]
    run.do("end")
    assert run.view().state == "succeeded"


def test_a_fallback_that_lost_its_own_needs_is_missed_only_when_it_is_needed(drive: Drive) -> None:
    def begin() -> Driven:
        run = drive(
            operation("n"),
            operation("a", fallback="b"),
            operation("b", ["n"]),
            operation("end", ["a"]),
        )
        run.do("n", "failed")
        assert run.states()["b"] == "skipped"
        return run

    unneeded, needed = begin(), begin()
    assert unneeded.do("a") == ["end"]
    assert needed.do("a", "failed") == []
    assert needed.states()["end"] == "skipped"
    assert needed.view().state == "failed"

    later = drive(
        operation("n"), operation("a", fallback="b"), operation("b", ["n"]), operation("end", ["a"])
    )
    later.do("a", "failed")
    later.do("n", "failed")
    assert later.states() == {"n": "failed", "a": "failed", "b": "skipped", "end": "skipped"}
    assert later.view().over


def test_the_fallback_of_what_is_skipped_is_skipped(drive: Drive) -> None:
    run = drive(
        operation("n"), operation("a", ["n"], fallback="b"), operation("b"), operation("end", ["a"])
    )
    run.do("n", "failed")
    assert run.states() == {"n": "failed", "a": "skipped", "b": "skipped", "end": "skipped"}
    assert run.view().over
