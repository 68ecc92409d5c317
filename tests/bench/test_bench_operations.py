"""The bench of operations, in its smallest form: it measures everything and leaves nothing behind."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from quick import answer_of, processes_left
from rich.console import Console

from omx_tasks.bench.operations import QUICK
from omx_tasks.bench.place import Measured
from omx_tasks.bench.ways import DIRECT, GROUPED, SINGLE, SLOT, STOCK, Compared, Way
from omx_tasks.cli.bench import table_of_rows, table_of_ways

WAYS = [DIRECT, GROUPED, SINGLE, SLOT, STOCK]
PARTS = ("agent", "server", "redis", "producer")


@pytest.mark.timeout(660)
def test_a_quick_run_gives_every_figure_and_leaves_nothing_behind(tmp_path: Path) -> None:
    answer = answer_of(tmp_path, "operations")

    assert list(answer["ways"]) == WAYS
    for way in answer["ways"].values():
        assert way["seconds"] > 0
        assert tuple(way["used"]) == PARTS
    rows = {row["title"]: row for row in answer["rows"]}
    hops = [row for title, row in rows.items() if title.startswith("hop ")]
    assert [row["unit"] for row in hops] == ["ms"] * 4
    assert min(row["value"] for row in hops) > 0
    assert all(
        rows[f"no-op operations, {agents}"]["value"] > 0 for agents in ("1 agent", "2 agents")
    )
    at_once = [row["value"] for title, row in rows.items() if title.startswith("8 calls of 0.2 s")]
    assert len(at_once) == 2
    assert min(at_once) > 0.19
    assert [row["value"] for row in answer["rows"] if "errors" in row["title"]] == [0, 0]
    assert list(tmp_path.iterdir()) == []
    assert processes_left(tmp_path) == []


def _round(*seconds: float) -> dict[str, Way]:
    used = dict.fromkeys(PARTS, 0.001)
    return {name: Way(took, used) for name, took in zip(WAYS, seconds, strict=True)}


def test_the_overhead_is_what_a_call_takes_longer_than_directly_within_one_round() -> None:
    compared = Compared(10, [_round(1, 2, 3, 6, 7), _round(3, 4, 7, 8, 9), _round(2, 4, 5, 6, 7)])
    assert compared.overhead(DIRECT) == 0
    assert compared.overhead(GROUPED) == 0.1
    single, slot, rate = compared.rows()
    assert (single.value, single.met) == (0.5, False), "of a half, a quarter and two thirds"
    assert (slot.value, slot.met) == (0.2, True), "of a fifth, a fifth and a half"
    assert (rate.value, rate.met) == (0.5, True), "of a half, three quarters and a half"


def test_the_tables_show_each_way_and_each_goal() -> None:
    compared = Compared(10, [_round(1, 2, 3, 6, 7)])
    out = io.StringIO()
    measured = Measured(QUICK, compared.rows(), 3)
    Console(file=out, width=100).print(table_of_ways(compared), table_of_rows(measured))
    for text in (*WAYS, "1 round", "1,000", "100,000", "≤ 0.3", "≥ 0.5"):
        assert text in out.getvalue()
