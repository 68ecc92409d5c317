"""Agents of the tests are forks: whoever starts some at once gets the process ids of its own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from forked import Forked


def test_several_threads_start_programs_at_once(tmp_path: Path) -> None:
    def start(number: int) -> Forked:
        return Forked(["this"], os.environ, tmp_path / f"{number}.log")

    with ThreadPoolExecutor(16) as threads:
        started = list(threads.map(start, range(60)))
    assert len({one.pid for one in started}) == 60
    assert {one.wait(60) for one in started} == {0}
