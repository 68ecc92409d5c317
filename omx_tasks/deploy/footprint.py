"""What agents and their servers use of this machine's memory, and what is left for more."""

from __future__ import annotations

from collections.abc import Collection

import psutil

#: The part of the machine's memory that is left to others.
RESERVE = 0.1


def free() -> int:
    """Return the bytes that more agents may use."""
    memory = psutil.virtual_memory()
    return max(0, memory.available - round(RESERVE * memory.total))


def used(pids: Collection[int]) -> int:
    """Return the bytes that these processes use, and all that they started; what several share counts once (PSS)."""
    return sum(_used(process) for pid in pids for process in _tree(pid))


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _used(process: psutil.Process) -> int:
    try:
        told = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(told, "pss", told.uss))
