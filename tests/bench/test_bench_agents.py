"""The bench of agents, in its smallest form: it measures everything and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from quick import answer_of, processes_left

from omx_tasks.bench.subjects import subjects


@pytest.mark.timeout(660)
def test_a_quick_run_gives_every_figure_and_leaves_nothing_behind(tmp_path: Path) -> None:
    answer = answer_of(tmp_path, "agents")
    rows = {row["title"]: row["value"] for row in answer["rows"]}
    assert 0 < rows["2 forked agents, idle, each"] < rows["2 separate agents, idle, each"]
    assert rows["forked, all warm after"] > 0
    assert (
        rows["2 agents x 6 servers, shared: servers"] < rows["2 agents x 6 servers, own: servers"]
    )
    assert min(rows["time, warm, second, p99"], rows["time, cold, first, p50"]) > 0
    assert rows["time, first ones, p50, less by"] < 100
    assert rows["8 calls of 200 ms, 2 agents"] > 0.19
    assert rows["planned: makespans"] > 0
    assert rows["  errors, 1 agent"] == rows["  errors, 2 agents"] == 0
    meeting = f"omx-{os.getuid()}"  # where a user's agents meet stays
    assert [one.name for one in tmp_path.iterdir() if one.name != meeting] == []
    assert processes_left(tmp_path) == []


def test_servers_that_cannot_be_had_are_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    found, missing = subjects(("time", "git", "memory"), tmp_path, said.append)
    assert [one.name for one in found] == ["time"]
    assert missing == said
    assert missing == [
        "without git: git is not installed",
        "without memory: node and npm are not installed",
    ]
