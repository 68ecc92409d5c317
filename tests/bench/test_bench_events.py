"""The bench of events, in its smallest form: it gives every figure and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from quick import answer_of


@pytest.mark.timeout(660)
def test_a_quick_run_gives_every_figure_and_leaves_nothing_behind(tmp_path: Path) -> None:
    answer = answer_of(tmp_path, "events")
    rows = {row["title"]: row for row in answer["rows"]}
    for what in ("published", "handled"):
        for how in ("batches, replica", "single, memory", "stock Celery tasks"):
            assert rows[f"{what}, {how}"]["value"] > 0
    assert [row["unit"] for title, row in rows.items() if title.endswith(" p99, memory")] == [
        "ms"
    ] * 4
    assert rows["handled, batches, replica / stock"]["unit"] == "x"
    assert rows["p99, stock Celery tasks"]["value"] > 0
    assert rows["P0 p99, 3,000 P3 draining"]["goal"] == {"sign": "≤", "bound": 20}
    assert not list(tmp_path.iterdir())
