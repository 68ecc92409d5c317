"""The bench of events, in its smallest form: it gives every figure and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = "from omx_tasks.cli.bench import bench; bench()"


@pytest.mark.timeout(300)
def test_a_quick_run_gives_every_figure_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "events", "--quick", "--json"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    rows = {row["title"]: row for row in json.loads(line)["rows"]}
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
