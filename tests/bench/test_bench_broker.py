"""The comparison with stock Celery, in its smallest form: it measures everything and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from omx_tasks.bench.figures import MEASURES

COMMAND = "from omx_tasks.cli.bench import bench; bench()"


@pytest.mark.timeout(300)
def test_a_quick_run_gives_every_figure_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "broker", "--quick", "--json"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    answer = json.loads(line)

    figures = {figure["key"]: figure for figure in answer["figures"]}
    assert list(figures) == [measure.key for measure in MEASURES]
    for figure in figures.values():
        if figure["key"] != "idle_cpu":
            assert figure["stock"] > 0, figure
            assert figure["ours"] > 0, figure
            assert figure["ratio"] == figure["ours"] / figure["stock"]
    assert answer["pairs"] == 1
    assert list(tmp_path.iterdir()) == []
    assert not [p for p in psutil.process_iter(["cmdline"]) if _names(p, tmp_path)]


def _names(process: psutil.Process, folder: Path) -> bool:
    return any(str(folder) in word for word in process.info["cmdline"] or ())
