"""The comparison with stock Celery, in its smallest form: it measures everything and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from quick import answer_of, processes_left

from omx_tasks.bench.figures import MEASURES


@pytest.mark.timeout(660)
def test_a_quick_run_gives_every_figure_and_leaves_nothing_behind(tmp_path: Path) -> None:
    answer = answer_of(tmp_path, "broker")

    figures = {figure["key"]: figure for figure in answer["figures"]}
    assert list(figures) == [measure.key for measure in MEASURES]
    for figure in figures.values():
        if figure["key"] != "idle_cpu":
            assert figure["stock"] > 0, figure
            assert figure["ours"] > 0, figure
            assert figure["ratio"] == figure["ours"] / figure["stock"]
    assert answer["pairs"] == 1
    assert list(tmp_path.iterdir()) == []
    assert processes_left(tmp_path) == []
