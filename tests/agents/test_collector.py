"""An agent's collector of cycles, once it is warm. In a process of its own: what is frozen stays so."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from omx_tasks.agents import collector
kept = [[] for _ in range(1000)]
collector.settle()
assert gc.get_freeze_count() > 1000
assert gc.get_threshold() == collector.THRESHOLDS
lost = []; lost.append(lost); del lost
assert gc.isenabled() and gc.collect() == 1
"""


def test_what_is_there_is_left_alone_and_new_cycles_are_still_collected() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], timeout=30, check=True)
