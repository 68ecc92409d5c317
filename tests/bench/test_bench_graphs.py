"""The bench of graphs, in its smallest form: a real system runs a workflow in three orders, then is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from quick import SECONDS, processes_left

COMMAND = "from omx_tasks.cli.main import main; main()"
TASKS = [
    {"id": "a", "name": "first", "seconds": 3.0, "needs": []},
    {"id": "b", "name": "second", "seconds": 1.0, "needs": []},
    {"id": "c", "name": "third", "seconds": 3.0, "needs": ["b"]},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "small.json").write_text(json.dumps({"name": "small", "tasks": TASKS}))
    return folder


def bench(temporary: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "bench", "graphs", *map(str, words)],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.timeout(660)
def test_a_small_bench_gives_every_figure_and_leaves_nothing_behind(
    tmp_path: Path, folder: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = bench(temporary, folder, "--ideal", "0.4", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    answer = json.loads(line)
    assert (answer["agents"], answer["slots"]) == (2, 8)
    (figure,) = answer["graphs"]
    assert (figure["name"], figure["operations"], figure["ideal"]) == ("small", 3, 0.4)
    assert figure["achieved"] > 0.39
    assert figure["first_in"] > 0.39
    assert figure["by_level"] > 0.59, "the third task waits for the first"
    assert figure["ratio"] == figure["achieved"] / 0.4
    assert figure["met"] is (figure["ratio"] <= 1.1)
    assert 0 < figure["overhead"] < figure["achieved"]
    assert list(temporary.iterdir()) == []
    assert processes_left(temporary) == []


def test_a_folder_that_is_not_there_is_exit_code_2(tmp_path: Path) -> None:
    done = bench(tmp_path, tmp_path / "nowhere")
    assert done.returncode == 2
    assert "no folder" in done.stderr
