"""A run that is interrupted, restarted and resumed comes to the right end, with every write done once."""

from __future__ import annotations

from pathlib import Path

import pytest
from interruptions import CANCEL, KILL, RESTART, interrupt


@pytest.mark.timeout(600)
def test_every_result_is_right_and_every_write_is_done_once(tmp_path: Path) -> None:
    wrong, told = interrupt(tmp_path, 100, [CANCEL, RESTART, KILL], seed=7)
    assert wrong == []
    assert (told[CANCEL], told[RESTART], told[KILL]) == (1, 1, 1)
