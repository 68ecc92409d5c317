"""Forecasts of series of which the future is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omx_tasks.monitoring.forecast import forecast


def test_of_nothing_comes_nothing() -> None:
    assert forecast([]) == (0.0, 0.0)


@pytest.mark.parametrize("ahead", [1, 10])
def test_what_is_constant_stays(ahead: int) -> None:
    assert forecast([7.0] * 20, ahead) == (7.0, 0.0)


def test_a_line_goes_on_where_the_trend_is_not_damped() -> None:
    line = [10.0 + 3.0 * n for n in range(200)]
    assert forecast(line, 5, damping=1.0).expected == pytest.approx(10 + 3 * 204, rel=1e-6)


def test_the_worked_example_of_the_formulas() -> None:
    # level 0.5, trend 0.5, no damping: 10 → (10, 0); 14 → (12, 1); 20 → (16.5, 2.75)
    told = forecast([10, 14, 20], 2, level=0.5, trend=0.5, damping=1.0)
    assert told.expected == pytest.approx(16.5 + 2 * 2.75)
    assert told.error == pytest.approx(((14 - 10) ** 2 / 2 + (20 - 13) ** 2 / 2) ** 0.5)


def test_a_rise_is_expected_to_go_on_and_to_flatten_out() -> None:
    rising = [float(10 * n) for n in range(30)]
    near, far, farther = (forecast(rising, ahead).expected for ahead in (1, 10, 100))
    assert rising[-1] < near < far < farther
    assert farther - far < far - near


def test_after_a_jump_a_few_counts_are_enough() -> None:
    assert forecast([5.0] * 30 + [100.0] * 6).expected == pytest.approx(100, rel=0.25)


def test_what_ends_is_not_expected_to_come_from_less_than_nothing() -> None:
    assert forecast([100.0, 50.0, 10.0, 0.0, 0.0], 20).expected == 0.0


@given(st.lists(st.floats(0, 1e9), max_size=60), st.integers(1, 100))
def test_a_forecast_is_never_negative(counts: list[float], ahead: int) -> None:
    told = forecast(counts, ahead)
    assert told.expected >= 0
    assert told.error >= 0


def test_the_past_is_not_forecast() -> None:
    with pytest.raises(ValueError, match="1 interval ahead or more, not 0"):
        forecast([1.0], 0)
