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
    """A part's number (0: the chord is over) and the chord's size (0: not known yet).

    With the last part also the results added on the way, and the ids of all parts in the order of the header.
    """

    number: int
    size: int
    added: list[Any]
    parts: list[str]


def begin(chord: str, run: str, *, keep: float | None) -> Call:
    """Begin a run of a chord, which is forgotten after ``keep`` seconds (None or 0: never)."""
    return Call(script("chord_begin_1"), (chord,), (run, int(keep or 0)), durable=True)


def add(chord: str, part: str, result: Any) -> Call:
    """Add a part, with its result as a tuple."""
    return Call(script("chord_add_1"), (chord,), (part, json.dumps(result)), durable=True)


def count(chord: str, part: str, index: int | None) -> Call:
    """Count a part that returned, of this place in the header; read the answer with `counted`."""
    return Call(script("chord_1"), (chord,), (part, index or 0), durable=True)


def counted(answer: Sequence[Any]) -> Count:
    """Read the answer to `count`."""
    number, size, added, parts = answer
    places = sorted(zip(map(int, parts[1::2]), parts[0::2], strict=True))
    ids = [part.decode() for _, part in places]
    return Count(int(number), int(size), [json.loads(result) for result in added], ids)


def over(chord: str) -> Call:
    """Say that a chord's body was published."""
    return Call(script("chord_over_1"), (chord,), (REMEMBERED,), durable=True)
