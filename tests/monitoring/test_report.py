"""Where the time of a run went: every second in one place, and none invented."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from courses import AGENT, CREATED, Work, record, works
from hypothesis import given

from omx_tasks.agents.registry import AgentRecord
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.monitoring.report import ideal_of, report_of, slots_for
from omx_tasks.monitoring.spans import KINDS
from omx_tasks.runs.follow import Change
from omx_tasks.runs.history import History

CHAIN = Work({"a": [], "b": ["a"]}, {"a": 1.0, "b": 2.0}, handover=0.25, cold=0.5, stored=0.125)


def about(value):
    return pytest.approx(value, abs=1e-6)


@given(works())
def test_the_segments_of_an_operation_lie_end_to_end_from_the_submission_to_the_stored_outcome(
    work,
):
    report = report_of(work.history(), work.slots)
    for span in report.spans:
        ends = [0.0, *(one.end for one in span.segments)]
        assert [one.begin for one in span.segments] == ends[:-1]
        assert all(one.begin < one.end for one in span.segments)
        assert all(one.kind != two.kind for one, two in itertools.pairwise(span.segments))
        assert sum(span.seconds(kind) for kind in KINDS) == about(span.ended)


@given(works())
def test_every_cause_has_just_the_time_that_it_took(work):
    for span in report_of(work.history(), work.slots).spans:
        parent = span.name.partition("[")[0]
        makes_items = isinstance(work.calls[parent], list) and parent == span.name
        assert span.seconds("retries") == 0
        if makes_items:
            assert span.seconds("overhead") == about(work.overhead + work.cold)
        else:
            assert span.seconds("overhead") == about(work.overhead)
            assert span.seconds("cold") == about(work.cold)


@given(works())
def test_the_critical_path_adds_up_to_the_whole_run(work):
    report = report_of(work.history(), work.slots)
    assert sum(report.where.values()) == about(report.seconds)
    assert set(report.critical) == {span.name for span in report.spans if span.critical}


@given(works())
def test_the_ideal_alone_is_that_of_the_report(work):
    for slots in (work.slots, None):
        history = work.history()
        assert ideal_of(history, slots) == report_of(history, slots).ideal


@given(works())
def test_the_totals_are_those_of_the_operations(work):
    report = report_of(work.history(), work.slots)
    for kind in KINDS:
        assert report.totals[kind] == about(sum(span.seconds(kind) for span in report.spans))


@given(works())
def test_no_run_beats_the_bound_nor_does_the_ideal_schedule(work):
    report = report_of(work.history(), work.slots)
    assert report.bound <= report.ideal + 1e-6
    assert report.bound <= report.seconds + 1e-6
    assert report.calls == sum(
        len(calls) if isinstance(calls, list) else 1 for calls in work.calls.values()
    )


def test_a_chain_takes_its_calls_and_what_the_system_adds_to_each():
    report = report_of(CHAIN.history(), 2)
    assert (report.ideal, report.bound) == (about(3.0), about(3.0))
    assert report.seconds == about(3.0 + 2 * (0.25 + 0.5 + 0.125))
    assert report.ratio == about(4.75 / 3.0)
    assert report.where == {
        "slot": 0.0,
        "retries": 0.0,
        "cold": about(1.0),
        "call": about(3.0),
        "overhead": about(0.75),
    }
    assert (report.critical, report.cold_starts, report.agents) == (("a", "b"), 2, (AGENT,))


def test_who_waits_while_the_only_slot_is_taken_waits_for_the_slot():
    work = Work({"a": [], "b": []}, {"a": 2.0, "b": 1.0}, slots=1, handover=0.5)
    first, second = report_of(work.history(), 1).spans
    assert (first.seconds("slot"), first.seconds("overhead")) == (0.0, about(0.5))
    assert (second.seconds("slot"), second.seconds("overhead")) == (about(2.5), about(0.5))


def test_who_waits_beside_a_free_slot_does_not_wait_for_one():
    work = Work({"a": [], "b": []}, {"a": 2.0, "b": 1.0}, slots=1)
    second = report_of(work.history(), 2).spans[1]
    assert (second.seconds("slot"), second.seconds("overhead")) == (0.0, about(2.0))


def test_slots_that_nobody_knows_are_the_most_that_were_taken_at_once():
    work = Work({"a": [], "b": [], "c": []}, {"a": 1.0, "b": 1.0, "c": 1.0}, slots=2)
    report = report_of(work.history(), None)
    assert (report.slots, report.slots_known) == (2, False)


# --- a stream with its oddities ---------------------------------------------------------------------


def told(*changes: tuple[float, str, str, str], finished: float = 10.0, **more) -> History:
    work = Work({"a": [], "b": ["a"]}, {"a": 1.0, "b": 1.0})
    history = History(
        "r", "odd", "failed", CREATED, CREATED + finished, StoredPlan.of(work.plan, {}),
        {"a": ("b",)}, [Change(CREATED + at, *rest) for at, *rest in changes],
    )  # fmt: skip
    return replace(history, **more)


def done(started: float, finished: float, **more) -> str:
    return record(CREATED + started, CREATED + finished, Work({}, {}), **more)


def test_attempts_before_the_last_are_retries():
    history = told(
        (1, "a", "running", "agent1@host"),
        (4, "a", "running", "agent2@host"),
        (6, "a", "succeeded", done(4.5, 5.5, attempts=2, agent="agent2@host")),
    )
    (span,) = report_of(history, 4).spans
    assert (span.agent, span.attempts, span.seconds("retries")) == ("agent2@host", 2, about(3.5))
    assert (span.seconds("call"), span.seconds("overhead")) == (about(1.0), about(1.5))


def test_what_only_tells_how_far_an_operation_is_changes_nothing():
    begun, ended = (1, "a", "running", AGENT), (4, "a", "succeeded", done(2, 3))
    plain = report_of(told(begun, ended), 4)
    assert report_of(told(begun, (2, "a", "progress", '{"progress": 1}'), ended), 4) == plain


def test_a_clock_that_is_ahead_or_behind_does_not_move_a_call_out_of_its_operation():
    for off in (-100.0, 100.0):
        history = told((1, "a", "running", AGENT), (4, "a", "failed", done(2 + off, 3 + off)))
        (span,) = report_of(history, 4).spans
        assert span.seconds("call") == about(1.0)
        assert span.ended == about(4.0)


def test_an_operation_that_nobody_could_begin_or_that_is_skipped_has_no_call():
    history = told(
        (5, "a", "failed", record(None, None, Work({}, {}), attempts=0, agent=None)),
        (5, "b", "skipped", ""),
    )
    report = report_of(history, 4)
    (span,) = report.spans
    assert (span.name, span.state, span.agent) == ("a", "failed", "")
    assert span.seconds("overhead") == about(5.0)
    assert (report.calls, report.ideal, report.ratio) == (0, 0.0, None)


def test_what_runs_on_when_a_run_is_cancelled_ends_with_it():
    (span,) = report_of(told((1, "a", "running", AGENT), state="cancelled"), 4).spans
    assert (span.state, span.ended) == ("running", about(10.0))


def test_a_stream_that_lost_its_beginning_still_makes_a_report():
    report = report_of(told((6, "b", "running", AGENT), (8, "b", "succeeded", done(6, 8))), 4)
    assert [span.name for span in report.spans] == ["b"]


def test_a_run_in_which_nothing_began_has_no_ratio():
    report = report_of(told(state="cancelled"), None)
    assert (report.spans, report.critical, report.ratio, report.slots) == ((), (), None, 1)


# --- whose slots ------------------------------------------------------------------------------------


def agent(name: str, *servers: str) -> AgentRecord:
    return AgentRecord(name, "host", 1, 4, 0, 0, list(servers), {}, "", 0.0)


def test_the_slots_are_those_of_all_agents_that_could_have_worked():
    history = CHAIN.history()
    assert slots_for(history, [agent(AGENT, "s"), agent("b@h", "s"), agent("c@h", "other")]) == 8


def test_the_slots_are_unknown_where_an_agent_that_worked_is_gone():
    assert slots_for(CHAIN.history(), [agent("b@h", "s")]) is None
    assert slots_for(CHAIN.history(), []) is None
