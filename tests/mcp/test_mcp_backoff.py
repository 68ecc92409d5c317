"""Pauses grow, end somewhere, and differ."""

from __future__ import annotations

from omx_tasks.mcp.backoff import equal_jitter, full_jitter


def test_full_jitter_is_anywhere_below_a_bound_that_doubles() -> None:
    for failures, bound in [(0, 1.0), (1, 2.0), (3, 8.0), (4, 10.0), (5000, 10.0)]:
        pauses = [full_jitter(failures, 1.0, 10.0) for _ in range(200)]
        assert 0 <= min(pauses) < bound / 4
        assert bound * 3 / 4 < max(pauses) <= bound


def test_equal_jitter_is_in_the_upper_half() -> None:
    for failures, bound in [(0, 1.0), (1, 2.0), (5000, 10.0)]:
        pauses = [equal_jitter(failures, 1.0, 10.0) for _ in range(200)]
        assert bound / 2 <= min(pauses) < bound * 5 / 8
        assert bound * 7 / 8 < max(pauses) <= bound
