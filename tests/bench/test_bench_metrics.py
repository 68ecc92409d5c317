"""The bench of metrics, in its smallest form: it measures everything and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from omx_tasks.bench.metrics import QUICK, measure


@pytest.mark.timeout(120)
def test_a_quick_run_gives_every_figure_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said: list[str] = []
    measured = measure(QUICK, said.append)
    rows = {row.title: row for row in measured.rows}
    assert rows["agent, each end told"].value > 0
    assert rows["telling's part of the agent"].goal is not None
    assert rows["scrape, 5 agents, 20 tools"].value > 0
    assert rows["scrape, size"].value > 20
    sampled = "being seen, part of the agent by py-spy" in rows
    assert sampled or "py-spy" in measured.notes[0]
    assert not list(tmp_path.iterdir())
