"""What agents and their servers use of this machine's memory, and what is left for more."""

from __future__ import annotations

from collections.abc import Collection

import psutil

from omx_tasks import memory

#: The part of the machine's memory that is left to others.
RESERVE = 0.1


def free() -> int:
    """Return the bytes that more agents may use."""
    machine = psutil.virtual_memory()
    return max(0, machine.available - round(RESERVE * machine.total))


def used(pids: Collection[int]) -> int:
    """Return the bytes that these processes use, and all that they started; what several share counts once (PSS)."""
    return sum(map(memory.parts_of_tree, pids))
