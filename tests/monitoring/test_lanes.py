"""Operations side by side: as many lanes as slots were taken, and no two operations in one place."""

from __future__ import annotations

import itertools
from collections import defaultdict

from courses import AGENT, works
from hypothesis import given

from omx_tasks.monitoring.lanes import lanes_of
from omx_tasks.monitoring.report import report_of


@given(works())
def test_a_lane_holds_one_operation_at_a_time_and_there_are_no_more_than_slots(work):
    spans = report_of(work.history(), work.slots).spans
    lanes, places = lanes_of(spans)
    assert lanes == [(AGENT, number + 1) for number in range(len(lanes))]
    assert len(lanes) <= work.slots
    held = defaultdict(list)
    for span, place in zip(spans, places, strict=True):
        held[place].append(span.held)
    for lane in held.values():
        assert all(before[1] <= after[0] + 0.002 for before, after in itertools.pairwise(lane))
