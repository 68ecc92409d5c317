"""The page in a real browser, where there is one: its own policy lets its script run, which draws."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from courses import Work

from omx_tasks.monitoring.report import report_of
from omx_tasks.monitoring.timeline import page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
FEW = Work({"a": [], "each": ["a"]}, {"a": 1.0, "each": [0.5, 0.25]}, handover=0.125)
MANY = Work({f"o{n}": [] for n in range(300)}, {f"o{n}": 1.0 for n in range(300)}, slots=16)


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")
@pytest.mark.parametrize(
    ("work", "view"), [(FEW, "by-operation"), (MANY, "by-slot")], ids=["few", "many"]
)
def test_the_script_runs_and_chooses_a_view_that_suits(
    tmp_path: Path, work: Work, view: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(report_of(work.history(), work.slots)), "utf-8")
    command = [str(BROWSER), *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert f'id="{view}" aria-pressed="true"' in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr
