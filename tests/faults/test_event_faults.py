"""A small version of what ``tests/faults/events.py`` does at length, and whether its comparison sees what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from event_books import Handled, Name, Published, compare
from events import LEADER_KILLED, MASTER_KILLED, Load, suffer

SMALL = Load(
    events=3000,
    rate=800,
    node_timeout=500,
    each=1,
    often=10,
    blows=(LEADER_KILLED, MASTER_KILLED),
)


@pytest.mark.timeout(300)
def test_what_was_accepted_is_handled_in_order_whoever_dies(tmp_path: Path) -> None:
    verdict = suffer(tmp_path, SMALL)
    print(verdict)
    assert verdict.accepted >= SMALL.events / 2
    assert not verdict.wrong


def test_the_comparison_sees_what_is_lost_out_of_order_or_dead_without_a_reason() -> None:
    names = [Name("key", 2, number) for number in range(5)]
    told = Published(accepted=set(names))
    done = [Handled(names[number], at) for at, number in enumerate([0, 2, 1, 0])]
    verdict = compare(told, done, [names[3]])
    assert (verdict.handled, verdict.lost, verdict.twice) == (3, 1, 1)
    assert (verdict.out_of_order, verdict.dead) == (1, 1)
    assert len(verdict.wrong) == 3
