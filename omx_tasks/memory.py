"""What processes use: each with all that it has started, such as the server behind its launcher."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection

import psutil


def of_trees(roots: Collection[int]) -> dict[int, int]:
    """Return the resident bytes of each of these processes and all that it started; nothing of those that are gone."""
    children: dict[int, list[psutil.Process]] = defaultdict(list)
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["ppid"]):
        children[process.info["ppid"] or 0].append(process)
        if process.pid in roots:
            found[process.pid] = process
    return {pid: _of(process, children) for pid, process in found.items()}


def part_of(process: psutil.Process) -> int:
    """Return the bytes that a process has to itself, and its part of what it shares with others (PSS).

    Where the system does not tell the parts, what is shared does not count. Raises ``psutil.Error``.
    """
    told = process.memory_full_info()
    return int(getattr(told, "pss", told.uss))


def parts_of_tree(root: int) -> int:
    """Return what a process uses and all that it has started, by `part_of`; nothing of those that are gone."""
    try:
        process = psutil.Process(root)
        tree = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(map(_part_of_living, tree))


def of_this_tree() -> int:
    """Return what this process uses and all that it has started, by `part_of`."""
    return parts_of_tree(os.getpid())


def _part_of_living(process: psutil.Process) -> int:
    try:
        return part_of(process)
    except psutil.Error:
        return 0


def _of(process: psutil.Process, children: dict[int, list[psutil.Process]]) -> int:
    try:
        own: int = process.memory_info().rss
    except psutil.Error:
        own = 0
    return own + sum(_of(child, children) for child in children.get(process.pid, ()))
