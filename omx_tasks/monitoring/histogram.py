"""Counts how long things took in buckets whose bounds grow by a constant factor; quantiles come from them.

Eight buckets to a doubling: bucket 0 is what took up to 10 µs, bucket n what took more than
``10 µs * 2 ** ((n - 1) / 8)`` and up to ``10 µs * 2 ** (n / 8)``; the last one (400, far beyond all ages) takes what
is longer. A quantile is told as the geometric middle of its bucket, so it is wrong by `ERROR` at most, 4.4 %, whatever
its size; below 10 µs it is told as 10 µs. Histograms of any times and agents can be added, which averages and
quantiles cannot.

Only buckets with something in them are kept: a mapping of their numbers to counts. The store has it as a row of
numbers: even ones are twice the count of the next bucket, odd ones say how many buckets with nothing come before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

#: Seconds that bucket 0 reaches to, buckets to a doubling, and the last bucket.
FIRST, TO_DOUBLE, LAST = 1e-5, 8, 400
#: By what part of itself a quantile can be wrong.
ERROR = 2 ** (0.5 / TO_DOUBLE) - 1


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket for a duration."""
    if seconds <= FIRST:
        return 0
    return min(LAST, math.ceil(TO_DOUBLE * math.log2(seconds / FIRST)))


def as_row(counts: Mapping[int, int]) -> list[int]:
    """Return a histogram as a row of numbers."""
    row: list[int] = []
    expected = 0
    for bucket in sorted(counts):
        if bucket > expected:
            row.append(2 * (bucket - expected) + 1)
        row.append(2 * counts[bucket])
        expected = bucket + 1
    return row


def of_row(row: Iterable[int]) -> dict[int, int]:
    """Return the histogram of a row."""
    counts: dict[int, int] = {}
    bucket = 0
    for number in row:
        if number & 1:
            bucket += number >> 1
        else:
            counts[bucket] = number >> 1
            bucket += 1
    return counts


def observe(counts: dict[int, int], seconds: float) -> None:
    """Count a duration."""
    bucket = bucket_of(seconds)
    counts[bucket] = counts.get(bucket, 0) + 1


def add(counts: dict[int, int], more: Mapping[int, int]) -> None:
    """Add a histogram to another one."""
    for bucket, count in more.items():
        counts[bucket] = counts.get(bucket, 0) + count


def middle_of(bucket: int) -> float:
    """Return the seconds that stand for all that is in a bucket."""
    return FIRST if bucket == 0 else FIRST * 2.0 ** ((bucket - 0.5) / TO_DOUBLE)


def quantile(counts: Mapping[int, int], part: float) -> float | None:
    """Return what this part (0 to 1) of all durations did not exceed, or None where there are none."""
    rank = max(1, math.ceil(part * sum(counts.values())))
    for bucket in sorted(counts):
        rank -= counts[bucket]
        if rank <= 0:
            return middle_of(bucket)
    return None
