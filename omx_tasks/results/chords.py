"""The count of an ordinary chord's parts, as calls to its scripts: begin, add, count, end.

A chord's hash says how many parts it has and which returned. A part has a number, which it keeps when it is told
again, so that a redelivered part neither completes a chord too early nor publishes its body twice. A chord whose
ids were frozen may be applied again: that is a new run, unless the same task applies it again, which was redelivered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omx_tasks.store.scripts import Call, script

#: Seconds for which a chord is remembered, so that a part that is told again is not taken for a new one's.
REMEMBERED = 3600


@dataclass(frozen=True)
class Count:
    """A part's number (0: the chord is over), the chord's size (0: not known yet), results added on the way."""

    number: int
    size: int
    added: list[Any]


def begin(chord: str, run: str, *, keep: float | None) -> Call:
    """Begin a run of a chord, which is forgotten after ``keep`` seconds (None or 0: never)."""
    return Call(script("chord_begin_1"), (chord,), (run, int(keep or 0)))


def add(chord: str, part: str, result: Any) -> Call:
    """Add a part, with its result as a tuple."""
    return Call(script("chord_add_1"), (chord,), (part, json.dumps(result)))


def count(chord: str, part: str) -> Call:
    """Count a part that returned; read the answer with `counted`."""
    return Call(script("chord_1"), (chord,), (part,))


def counted(answer: Sequence[Any]) -> Count:
    """Read the answer to `count`."""
    number, size, *added = answer
    return Count(int(number), int(size), [json.loads(result) for result in added])


def over(chord: str) -> Call:
    """Say that a chord's body was published."""
    return Call(script("chord_over_1"), (chord,), (REMEMBERED,))
