"""Durations in buckets, and what can be said of them afterwards."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from omx_tasks.monitoring.counts import Count
from omx_tasks.monitoring.histogram import ERROR, FIRST, LAST, bucket_of, middle_of, quantile

PARTS = st.floats(0.001, 1.0)
NUMBERS = st.integers(0, 2**40)
HISTOGRAMS = st.dictionaries(st.integers(0, LAST), st.integers(1, 2**40))


@given(st.lists(st.floats(1e-5, 1e6), min_size=1), PARTS)
def test_a_quantile_is_wrong_by_the_stated_error_at_most(seconds: list[float], part: float) -> None:
    counts = Counter(map(bucket_of, seconds))
    told = quantile(counts, part)
    rank = next(n for n in range(1, len(seconds) + 1) if n >= part * len(seconds))
    true = sorted(seconds)[rank - 1]
    assert told is not None
    assert abs(told - true) <= (ERROR + 1e-9) * true or true <= FIRST * (1 + ERROR)


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_what_is_longer_is_in_no_lower_bucket(one: float, other: float) -> None:
    shorter, longer = sorted((one, other))
    assert 0 <= bucket_of(shorter) <= bucket_of(longer) <= LAST


def test_the_error_is_the_one_that_is_documented() -> None:
    assert 0.044 < ERROR < 0.0445
    assert middle_of(0) == FIRST


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) is None


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, HISTOGRAMS, HISTOGRAMS)
def test_counts_are_read_as_they_were_packed(
    number: int,
    failed: int,
    attempts: int,
    millis: int,
    calls: dict[int, int],
    waits: dict[int, int],
) -> None:
    count = Count(number, failed, attempts, millis / 1000, calls, waits)
    assert Count.read(count.packed()) == count
