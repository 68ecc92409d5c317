"""A run that is resumed does what is not done, and nothing twice."""

from __future__ import annotations

import random

import pytest
from driven import Drive, Driven, names, operation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omx_tasks.errors import NotFoundError, UsageError
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan
from omx_tasks.results import joins
from omx_tasks.runs.resume import and_what_needs, links, resume
from omx_tasks.store import keys
from omx_tasks.store.client import Store


def _chain(drive: Drive) -> Driven:
    return drive(operation("a"), operation("b", ["a"]), operation("c", ["b"]), operation("d"))


def _run(run: Driven, name: str) -> str:
    key = keys.run(run.id)
    return (run.store.command(key, "HGET", key, name) or b"").decode()


def test_what_failed_and_what_was_skipped_is_done_and_what_succeeded_stays(drive: Drive) -> None:
    run = _chain(drive)
    run.do("a", text="first")
    run.do("b", "failed")
    run.do("d")
    assert run.states() == {"a": "succeeded", "b": "failed", "c": "skipped", "d": "succeeded"}
    assert run.resume() == ["resumed", "1", "b:1"]
    view = run.view()
    assert (view.state, view.operations["b"].error) == ("running", None)
    assert run.states() == {"a": "succeeded", "b": "waiting", "c": "waiting", "d": "succeeded"}
    assert view.operations["a"].text == "first"
    assert run.do("b:1") == ["c:1"]
    assert run.do("c:1") == []
    assert run.view().state == "succeeded"


def test_a_join_waits_for_those_of_its_needs_that_are_not_done(drive: Drive) -> None:
    parts = ["p0", "p1", "p2", "p3"]
    run = drive(*(operation(name) for name in parts), operation("join", parts))
    run.do("p0")
    run.do("p1", "failed")
    run.do("p2")
    run.start("p3")
    run.cancel()
    assert run.resume() == ["resumed", "1", "p1:1", "p3:1"]
    assert run.do("p1:1") == []
    assert run.do("p3:1") == ["join:1"]


def test_what_comes_late_from_before_the_resumption_does_not_count(drive: Drive) -> None:
    run = _chain(drive)
    run.start("a")
    run.cancel()
    run.resume()
    assert run.finish("a") == []
    assert run.start("a").verdict == "over"
    assert run.states()["a"] == "waiting"
    start = run.start("a:1")
    assert (start.verdict, start.attempt, start.before) == ("go", 2, 0), (
        "it was begun and not ended"
    )
    assert run.finish("a:1") == ["b:1"]


def test_attempts_go_on_counting_and_one_that_ended_is_no_interrupted_one(drive: Drive) -> None:
    run = _chain(drive)
    run.start("a")
    run.start("a")
    run.finish("a", "failed")
    run.do("d")
    run.resume()
    start = run.start("a:1")
    assert (start.attempt, start.before) == (1, 1), "the record said one"


def test_the_unknown_stays_and_what_needs_it_is_skipped_unless_it_is_to_be_tried_again(
    drive: Drive,
) -> None:
    run = _chain(drive)
    run.do("a", "unknown")
    run.do("d", "failed")
    assert run.resume() == ["resumed", "1", "d:1"]
    assert run.states() == {"a": "unknown", "b": "skipped", "c": "skipped", "d": "waiting"}
    run.do("d:1")
    assert run.view().state == "failed"
    assert run.resume() == ["nothing"]
    assert run.resume("retry") == ["resumed", "2", "a:2"]
    for name in ("a:2", "b:2", "c:2"):
        run.do(name)
    assert run.view().state == "succeeded"


def test_the_unknown_without_a_record_is_left_to_its_agent(drive: Drive) -> None:
    run = _chain(drive)
    run.start("a")
    run.cancel()
    assert run.start("a").verdict == "over"
    assert run.states()["a"] == "unknown", "delivered again after the cancellation"
    assert run.resume() == ["resumed", "1", "a:1", "d:1"]
    assert run.start("a:1").attempt == 2


def test_a_failure_after_which_the_graph_goes_on_is_done(drive: Drive) -> None:
    run = drive(operation("a", on_failure="continue"), operation("b", ["a"]), operation("c", ["a"]))
    run.do("a", "failed")
    run.do("b")
    run.do("c", "failed")
    assert run.resume() == ["resumed", "1", "c:1"]
    started = run.start("c:1")
    assert started.verdict == "go"
    run.finish("c:1")
    assert run.view().state == "succeeded"


def _each(drive: Drive, **fields: object) -> Driven:
    run = drive(
        operation("a"), operation("each", ["a"], foreach="${a.structured}", **fields),
        operation("end", ["each"]),
    )  # fmt: skip
    run.do("a")
    run.start("each")
    return run


def test_of_a_foreach_only_the_items_that_are_not_done_are_done(drive: Drive) -> None:
    run = _each(drive)
    run.expand("each", [10, 11, 12, 13])
    run.do("each[0]", text="0")
    run.do("each[1]", "failed")
    run.start("each[2]")
    run.cancel()
    assert run.resume() == ["resumed", "1", "each[1]:1", "each[2]:1", "each[3]:1"]
    assert run.states()["each"] == ["succeeded", "waiting", "waiting", "waiting"]
    assert run.start("each[1]:1").item == 11
    assert run.finish("each[1]:1") == run.do("each[2]:1") == []
    assert run.do("each[3]:1") == ["end:1"]
    run.do("end:1")
    assert run.view().state == "succeeded"


def test_a_foreach_that_was_cut_off_while_it_got_its_items_gets_the_rest(drive: Drive) -> None:
    run = _each(drive)
    items = [10, 11, 12, 13]
    run.expand_part("each", items, 0, 2)
    run.do("each[0]")
    run.cancel()
    assert run.resume() == ["resumed", "1", "each:1", "each[1]:1"]
    run.start("each:1")
    assert run.expand_part("each:1", items, 0, 2) == ["each[1]:1"]
    assert run.expand_part("each:1", items, 2, 2) == ["each[2]:1", "each[3]:1"]
    assert run.do("each[1]:1") == run.do("each[2]:1") == []
    assert run.do("each[3]:1") == ["end:1"]


def test_what_is_to_be_done_again_is_although_it_succeeded(drive: Drive) -> None:
    run = _chain(drive)
    run.do("a", text="first")
    run.do("b")
    run.do("c", "failed")
    run.do("d")
    assert run.resume(again=["a", "b", "c"]) == ["resumed", "1", "a:1"]
    assert run.states() == {"a": "waiting", "b": "waiting", "c": "waiting", "d": "succeeded"}
    assert run.do("a:1", text="second") == ["b:1"]
    assert run.do("b:1") == ["c:1"]
    run.do("c:1")
    view = run.view()
    assert (view.state, view.operations["a"].text) == ("succeeded", "second")


def test_a_foreach_that_is_to_be_done_again_gets_its_items_anew(drive: Drive) -> None:
    run = _each(drive)
    run.expand("each", [10, 11])
    run.do("each[0]")
    run.do("each[1]")
    run.do("end", "failed")
    assert run.resume(again=["each", "end"]) == ["resumed", "1", "each:1"]
    run.start("each:1")
    assert run.expand("each:1", [7]) == ["each[0]:1"]
    assert run.start("each[0]:1").item == 7
    assert run.finish("each[0]:1") == ["end:1"]
    run.do("end:1")
    assert run.states() == {"a": "succeeded", "each": ["succeeded"], "end": "succeeded"}


def test_items_that_stay_unknown_are_not_done_again(drive: Drive) -> None:
    run = _each(drive)
    run.expand("each", [0, 1, 2])
    for name, state in (("each[0]", "unknown"), ("each[1]", "failed"), ("each[2]", "succeeded")):
        run.do(name, state)
    assert run.resume(again=["each", "end"]) == ["resumed", "1", "each[1]:1"]
    run.do("each[1]:1")
    assert run.resume(each="retry", again=["each", "end"]) == ["resumed", "2", "each:2"]


def test_with_an_operation_its_fallback_and_all_that_needs_it_is_done_again(
    drive: Drive, store: Store
) -> None:
    run = drive(
        operation("a", fallback="instead"),
        operation("instead"),
        operation("end", ["a"]),
        operation("beside"),
    )
    run.do("a", "failed")
    run.do("instead")
    run.do("beside")
    run.do("end", "failed")
    with pytest.raises(NotFoundError, match="no operation on a server 'nobody'"):
        resume(store, run.id, again=["nobody"])
    again = and_what_needs(["a"], links(store, run.id))
    assert again == {"a", "instead", "end"}
    assert run.resume(again=again) == ["resumed", "1", "a:1"]
    assert run.do("a:1") == ["end:1"]
    run.do("end:1")
    assert run.view().state == "succeeded"


def test_unknown_items_stay_and_make_their_foreach_unknown_again(drive: Drive) -> None:
    run = _each(drive)
    run.expand("each", [0, 1, 2])
    for name, state in (("each[0]", "unknown"), ("each[1]", "failed"), ("each[2]", "succeeded")):
        run.do(name, state)
    assert run.resume() == ["resumed", "1", "each[1]:1"]
    run.do("each[1]:1")
    assert run.states() == {
        "a": "succeeded", "each": ["unknown", "succeeded", "succeeded"], "end": "skipped",
    }  # fmt: skip
    assert run.resume() == ["nothing"]
    assert run.resume("retry") == ["resumed", "2", "each[0]:2"]
    assert run.do("each[0]:2") == ["end:2"]


def test_what_somebody_saw_to_counts_as_done_one_by_one_or_all(drive: Drive) -> None:
    run = drive(
        operation("a"), operation("b"), operation("c", ["a"]), operation("d", ["b"]), operation("e")
    )
    for name in ("a", "b", "e"):
        run.do(name, "unknown")
    assert run.resume(a="done", b="retry") == ["resumed", "1", "b:1", "c:1"]
    view = run.view().operations
    assert (view["a"].state, view["a"].error, view["a"].attempts) == ("succeeded", None, 1)
    run.do("b:1")
    run.do("c:1")
    run.do("d:1")
    assert run.view().state == "failed"
    assert run.resume("done") == ["resumed", "2"]
    assert run.view().state == "succeeded"


def test_items_that_somebody_saw_to_make_their_foreach_done(drive: Drive) -> None:
    run = _each(drive)
    run.expand("each", [0, 1])
    run.do("each[0]", "unknown")
    run.do("each[1]", "unknown")
    assert run.resume(**{"each[0]": "done"}) == ["resumed", "1"]
    assert run.states()["each"] == ["succeeded", "unknown"]
    assert run.resume("done") == ["resumed", "2", "end:2"]
    run.do("end:2")
    assert run.view().state == "succeeded"


@pytest.mark.parametrize("story", ["failed", "cancelled"])
def test_resuming_twice_with_one_token_is_resuming_once(drive: Drive, story: str) -> None:
    once, twice = _chain(drive), _chain(drive)
    twice.twice = True
    for run in (once, twice):
        run.do("d")
        if story == "cancelled":
            run.cancel()
        else:
            run.do("a", "failed")
        assert run.resume(token="x") == ["resumed", "1", "a:1"]
        run.start("a:1", "token")
        assert run.resume(token="x") == ["resumed", "1"]
        assert run.resume(token="y") == ["running"]

    def stored(run: Driven) -> object:
        found = run.stored()
        return {**found, "run": {**found["run"], "idle": "", "resumed": ""}}

    assert stored(once) == stored(twice)


def test_time_stands_still_between_an_end_and_the_resumption(drive: Drive) -> None:
    run = _chain(drive)
    run.do("a", "failed")
    run.do("d")
    before = run.view().seconds
    run.resume()
    run.do("a:1", "failed")
    view = run.view()
    created, finished, idle = (float(_run(run, name)) for name in ("created", "finished", "idle"))
    assert idle > 0
    assert before <= view.seconds == pytest.approx(finished - created - idle)


def test_nothing_of_a_resumed_run_expires_before_its_next_end(drive: Drive, store: Store) -> None:
    run = _chain(drive)
    run.do("a", "failed")
    run.do("d")
    run.resume()
    assert {store.command(key, "TTL", key) for key in keys.run_keys(run.id)} <= {-1, -2}
    for name in ("a:1", "b:1", "c:1"):
        run.do(name)
    assert all(store.command(key, "TTL", key) != -1 for key in keys.run_keys(run.id))


def test_a_timeout_begins_anew_and_is_over_in_the_end(drive: Drive, store: Store) -> None:
    run = Driven(store, _chain(drive).plan)
    run.submit(timeout=0.001)
    while (state := names(store.run(joins.look(run.id)))) == ["running", ""]:
        pass
    assert state == ["cancelled", ""]
    assert run.view().error["kind"] == "timeout"
    run.resume()
    assert (run.view().error, _run(run, "timeout")) == (None, "0.001")
    while names(store.run(joins.look(run.id))) == ["running", "1"]:
        pass
    assert run.view().state == "cancelled"


def test_what_cannot_be_resumed_is_refused_with_what_to_do(drive: Drive, store: Store) -> None:
    run = drive(operation("a"))
    with pytest.raises(UsageError, match="is running"):
        resume(store, run.id)
    run.do("a", "unknown")
    with pytest.raises(UsageError, match="--unknown retry"):
        resume(store, run.id)
    assert resume(store, run.id, "retry") == 1
    run.do("a:1")
    with pytest.raises(UsageError, match="has succeeded"):
        resume(store, run.id)
    with pytest.raises(NotFoundError, match="there is no run 'none'"):
        resume(store, "none")


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[int]], list[int | None], int]:
    size = draw(st.integers(1, 10))
    needs = [
        sorted(draw(st.sets(st.integers(0, n - 1), max_size=3))) if n else [] for n in range(size)
    ]
    items = draw(st.lists(st.sampled_from([None] * 3 + [0, 1, 4]), min_size=size, max_size=size))
    return needs, items, draw(st.integers(0, 2**32))


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(story=graphs())
def test_however_often_a_run_is_cut_off_each_operation_succeeds_once_after_its_needs(
    store: Store, story: tuple[list[list[int]], list[int | None], int]
) -> None:
    needs, items, seed = story
    chance = random.Random(seed)
    operations = [
        operation(f"o{n}", [f"o{need}" for need in before], foreach="${inputs.list}" if many is not None else None)
        for n, (before, many) in enumerate(zip(needs, items, strict=True))
    ]  # fmt: skip
    graph = Graph(name="random", inputs={"list": {"default": []}}, operations=operations)
    run = Driven(store, compile_plan(graph), {"list": []}, twice=chance.random() < 0.5)
    ready, succeeded = run.submit(), []
    for _ in range(1000):
        if run.view().over:
            if run.view().state == "succeeded":
                break
            choice = chance.choice(["keep", "retry", "retry"])
            verdict, *rest = run.resume(choice)
            assert verdict == "resumed" or (verdict == "nothing" and choice == "keep")
            ready = rest[1:]
            continue
        if chance.random() < 0.1:
            run.cancel()
            continue
        name = ready.pop(chance.randrange(len(ready)))
        plain = name.partition(":")[0]
        number = int(plain.removeprefix("o").partition("[")[0])
        assert run.start(name).verdict == "go"
        if items[number] is not None and "[" not in plain:
            state = "succeeded" if items[number] == 0 else "expanded"
            ready += run.expand(name, list(range(items[number])))
        else:
            state = chance.choices(["succeeded", "failed", "unknown", "lost"], [8, 1, 1, 1])[0]
            if state == "lost":  # its agent died: it is delivered again
                ready.append(name)
                continue
            ready += run.finish(name, state)
        if state == "succeeded":
            succeeded.append(plain)
        over = run.stored()["states"]
        assert all(over[f"o{need}"] == "succeeded" for need in needs[number])
    else:
        raise AssertionError("it did not come to an end")
    assert len(succeeded) == len(set(succeeded))
    wanted = {f"o{n}" for n, many in enumerate(items) if not many}
    wanted |= {f"o{n}[{index}]" for n, many in enumerate(items) for index in range(many or 0)}
    assert set(succeeded) == wanted
    assert run.stored()["outbox"] == []
    assert run.stored()["run"]["open"] == "0"


def _with_fallback(drive: Drive) -> Driven:
    return drive(
        operation("n"),
        operation("a", fallback="b"),
        operation("b", ["n"]),
        operation("end", ["a"]),
        operation("other"),
    )


def test_what_a_fallback_did_is_done(drive: Drive) -> None:
    run = _with_fallback(drive)
    for name, state in [("n", "succeeded"), ("a", "failed"), ("b", "succeeded"), ("end", "failed")]:
        run.do(name, state)
    run.do("other")
    assert run.resume() == ["resumed", "1", "end:1"]
    run.do("end:1")
    assert run.view().state == "succeeded"


def test_a_fallback_that_was_not_needed_is_not_begun(drive: Drive) -> None:
    run = _with_fallback(drive)
    for name, state in [("n", "succeeded"), ("a", "succeeded"), ("end", "succeeded")]:
        run.do(name, state)
    run.do("other", "failed")
    assert run.resume() == ["resumed", "1", "other:1"]
    run.do("other:1")
    assert run.states()["b"] == "skipped"
    assert run.view().state == "succeeded"


def test_an_operation_whose_fallback_failed_too_begins_again_with_its_fallback(
    drive: Drive,
) -> None:
    run = _with_fallback(drive)
    for name, state in [("n", "succeeded"), ("a", "failed"), ("b", "failed"), ("other", "failed")]:
        run.do(name, state)
    assert run.resume() == ["resumed", "1", "a:1", "other:1"]
    run.do("other:1")
    assert run.do("a:1", "failed") == ["b:1"]
    assert run.do("b:1") == ["end:1"]
    run.do("end:1")
    assert run.view().state == "succeeded"


def test_a_fallback_that_is_unknown_keeps_its_operation_from_beginning_again(drive: Drive) -> None:
    run = _with_fallback(drive)
    for name, state in [("n", "succeeded"), ("a", "failed"), ("b", "unknown"), ("other", "failed")]:
        run.do(name, state)
    assert run.resume() == ["resumed", "1", "other:1"]
    run.do("other:1")
    states = run.states()
    assert (states["a"], states["b"], states["end"]) == ("failed", "unknown", "skipped")
    assert run.view().over
