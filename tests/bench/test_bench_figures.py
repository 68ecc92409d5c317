from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from omx_tasks.bench.broker import Comparison
from omx_tasks.bench.figures import Goal, figures
from omx_tasks.cli.bench import table_of


def _speeds(*pairs: tuple[float, float]) -> list[tuple[dict[str, float], dict[str, float]]]:
    return [({"publish_batch": stock}, {"publish_many": ours}) for stock, ours in pairs]


def test_the_ratio_is_the_median_of_the_pairs_ratios_and_not_the_ratio_of_the_medians() -> None:
    (figure,) = figures(_speeds((100, 500), (1000, 4000), (200, 1200)))
    assert (figure.stock, figure.ours) == (200, 1200)
    assert figure.ratio == 5


def test_a_goal_is_met_from_its_bound_on() -> None:
    assert [Goal("≥", 4).met(ratio) for ratio in (3.9, 4, 4.1)] == [False, True, True]
    assert [Goal("≤", 0.4).met(ratio) for ratio in (0.3, 0.4, 0.5)] == [True, True, False]


def test_a_ratio_to_nothing_is_none_and_meets_no_goal() -> None:
    (figure,) = figures(_speeds((0, 500)))
    assert (figure.ratio, figure.met) == (None, None)


def test_what_one_side_cannot_do_is_left_out() -> None:
    assert figures(_speeds((100, math.nan))) == []


@pytest.mark.parametrize(("ours", "ratio"), [(450.0, "4.50x"), (390.0, "3.90x")])
def test_the_table_shows_both_sides_the_ratio_and_the_goal(ours: float, ratio: str) -> None:
    out = io.StringIO()
    comparison = Comparison(figures(_speeds((100, ours))), pairs=1, seconds=3)
    Console(file=out, width=120).print(table_of(comparison))
    for text in (
        "1 pair",
        "publish, many at once",
        "stock's publish, in batches",
        "100",
        f"{ours:.0f}",
        ratio,
        "≥ 4x",
    ):
        assert text in out.getvalue()


def test_what_stock_does_not_have_is_compared_with_its_nearest() -> None:
    (figure,) = figures([({"threads_plain": 100}, {"messages": 700})])
    assert (figure.measure.key, figure.ratio, figure.met) == ("messages", 7, True)
