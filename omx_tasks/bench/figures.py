"""What is measured, what is wanted of it, and how pairs of samples become figures."""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Sample = Mapping[str, float]


@dataclass(frozen=True)
class Goal:
    """A bound for ours/stock."""

    sign: str
    bound: float

    def met(self, ratio: float) -> bool:
        """Whether a ratio is within the bound."""
        return bool({"≥": operator.ge, "≤": operator.le}[self.sign](ratio, self.bound))

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:.2g}x"


@dataclass(frozen=True)
class Measure:
    """One line of the table: ``key`` names it in samples and JSON.

    ``beside`` is what it is compared with on stock's side, where that is something else: stock's nearest.
    """

    key: str
    title: str
    unit: str
    goal: Goal | None = None
    beside: str | None = None

    @property
    def stock_key(self) -> str:
        """Its name in stock's samples."""
        return self.beside or self.key


FASTER, CHEAPER, FEWER = Goal("≥", 2.5), Goal("≤", 0.4), Goal("≤", 1 / 3)

MEASURES = (
    Measure("prefork_results", "prefork -c 2, results on", "tasks/s", FASTER),
    Measure("prefork_plain", "prefork -c 2, results off", "tasks/s", FASTER),
    Measure("threads_results", "threads -c 8, results on", "tasks/s", FASTER),
    Measure("threads_plain", "threads -c 8, results off", "tasks/s", FASTER),
    Measure("messages", "agent, no-op messages", "msg/s", Goal("≥", 6), "threads_plain"),
    Measure("operations", "agent, no-op operations", "op/s", Goal("≥", 6), "threads_results"),
    Measure("publish_single", "publish, one by one", "msg/s"),
    Measure("publish_batch", "publish, in batches", "msg/s"),
    Measure("publish_many", "publish, many at once", "msg/s", Goal("≥", 4), "publish_batch"),
    Measure("round_trip_p50", "round trip p50", "ms", Goal("≤", 0.8)),
    Measure("round_trip_p99", "round trip p99", "ms"),
    Measure("parent_cpu_results", "parent CPU, results on", "µs/task", CHEAPER),
    Measure("parent_cpu_plain", "parent CPU, results off", "µs/task", CHEAPER),
    Measure("requests_task", "requests, worker only", "/task", FEWER),
    Measure("requests_trip", "requests, round trip", "/task", FEWER),
    Measure("waiting_1", "connections, 1 queue", "/worker"),
    Measure("waiting_10", "connections, 10 queues", "/worker"),
    Measure("waiting_50", "connections, 50 queues", "/worker"),
    Measure("idle_cpu", "idle worker's parent", "% CPU"),
)


@dataclass(frozen=True)
class Figure:
    """Medians of both sides, and the median of the pairs' ratios ours/stock (None where stock's is zero)."""

    measure: Measure
    stock: float
    ours: float
    ratio: float | None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.measure.goal is None or self.ratio is None:
            return None
        return self.measure.goal.met(self.ratio)

    def as_json(self) -> dict[str, Any]:
        """Return what ``json.dumps`` takes."""
        measure = asdict(self.measure)
        goal = str(self.measure.goal) if self.measure.goal else None
        values = {"stock": self.stock, "ours": self.ours, "ratio": self.ratio}
        return {**measure, **values, "goal": goal, "met": self.met}


def figures(pairs: Sequence[tuple[Sample, Sample]]) -> list[Figure]:
    """Return a figure for each measure that every pair ``(stock, ours)`` has."""
    return [
        _figure(measure, [(stock[measure.stock_key], ours[measure.key]) for stock, ours in pairs])
        for measure in MEASURES
        if all(_has(stock, measure.stock_key) and _has(ours, measure.key) for stock, ours in pairs)
    ]


def _has(sample: Sample, key: str) -> bool:
    return not math.isnan(sample.get(key, math.nan))


def _figure(measure: Measure, values: Sequence[tuple[float, float]]) -> Figure:
    ratios = [ours / stock for stock, ours in values if stock]
    return Figure(
        measure,
        stock=statistics.median(stock for stock, _ in values),
        ours=statistics.median(ours for _, ours in values),
        ratio=statistics.median(ratios) if ratios else None,
    )
