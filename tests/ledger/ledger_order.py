"""What a ledger says of the order in which messages of different priorities were worked on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ledger_file import Entry


class Disorder(NamedTuple):
    """``inverted``: ran after something less urgent. ``overtaken``: ran after something younger of its priority."""

    inverted: int
    overtaken: int


def disorder(entries: Sequence[Entry], priorities: Sequence[int]) -> Disorder:
    """Compare with the right order: by priority, then by number. ``priorities`` are those of the numbers."""
    inverted = overtaken = 0
    lowest, latest = 0, dict.fromkeys(range(4), -1)
    for entry in entries:
        priority = priorities[entry.number]
        inverted += priority < lowest
        overtaken += entry.number < latest[priority]
        lowest = max(lowest, priority)
        latest[priority] = max(latest[priority], entry.number)
    return Disorder(inverted, overtaken)


def ran_before(entries: Sequence[Entry], sent: Mapping[int, float]) -> list[int]:
    """Return, for each urgent message, how many others ran between its publishing and its own run."""
    ran = {entry.number: entry.at for entry in entries if entry.number in sent}
    others = [entry.at for entry in entries if entry.number not in sent]
    return [sum(moment < at < ran[number] for at in others) for number, moment in sent.items()]
