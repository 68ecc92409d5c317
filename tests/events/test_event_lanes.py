"""What one lane of a handler leaves to the other."""

from __future__ import annotations

import time

from omx_tasks.events.lanes import LONGEST_REST, Turn


def call(turn: Turn, *, urgent: bool) -> None:
    with turn.take(urgent=urgent):
        pass


def test_nobody_rests_for_urgent_events_that_do_not_come():
    turn = Turn()
    call(turn, urgent=False)
    assert turn.rest(time.monotonic() - 1) == 0


def test_the_other_lane_rests_as_long_as_its_round_took_while_urgent_events_come():
    turn = Turn(expected=60)
    call(turn, urgent=True)
    began = time.monotonic()
    rested = turn.rest(began - LONGEST_REST / 4)
    assert LONGEST_REST / 4 <= rested <= time.monotonic() - began


def test_a_rest_after_a_long_call_is_short():
    turn = Turn(expected=60)
    call(turn, urgent=True)
    assert turn.rest(time.monotonic() - 10) == LONGEST_REST
