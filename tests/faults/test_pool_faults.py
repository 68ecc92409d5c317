"""A small version of what ``tests/faults/pool.py`` does at length."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from pool import Load, pool, processes_of, recovered

SMALL = Load(operations=120, seconds=0.3, agents=2, slots=6, silence=3.0)


@pytest.mark.timeout(300)
def test_struck_agents_and_servers_lose_nothing_and_leave_nothing(
    cluster_url: str, tmp_path: Path
) -> None:
    with pool(cluster_url, tmp_path / "pool", SMALL) as struck:
        for fault in ("server killed", "agent stopped", "agent killed"):
            result = struck.suffer(fault)
            print(fault, result)
            assert sum(result.states.values()) == SMALL.operations
            assert (result.lost, result.twice, result.left) == (0, 0, 0), (fault, result)
    assert psutil.wait_procs(processes_of(tmp_path / "pool"), timeout=20)[1] == []


def test_a_rate_is_back_when_it_is_again_what_it_was() -> None:
    steady = [number / 10 for number in range(300)]
    assert recovered(steady, 10.0, 8.0) == 0.0
    gap = [end for end in steady if not 12.0 <= end < 15.0]
    assert 3.0 < (recovered(gap, 10.0, 8.0) or 0.0) <= 5.1
    assert recovered([end for end in steady if end < 12.0] + [29.0], 10.0, 8.0) is None
