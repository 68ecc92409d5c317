"""Small versions of what ``tests/faults/agents.py`` does at length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from agents import SCENARIOS, Load, suffer

SMALL = Load(operations=100, seconds=0.3, timeout=30.0, agents=3, every=1.5)
#: Where only its timeout ends a call: more than three times of it, and a read fails.
SOON = replace(SMALL, timeout=4.0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_write_is_done_twice_none_is_missing_and_all_else_succeeds(
    scenario: str, cluster_url: str, tmp_path: Path
) -> None:
    load = SOON if scenario == "server stopped" else SMALL
    result = suffer(SCENARIOS[scenario], cluster_url, tmp_path / "scene", load)
    print(scenario, result)
    assert sum(result.states.values()) == SMALL.operations
    assert result.strikes > 0
    assert (result.twice, result.missing, result.wrong) == (0, 0, 0), result
