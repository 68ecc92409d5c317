"""What processes use: each with all that it has started, such as the server behind its launcher.

On Linux only the processes of a tree are looked at, however many others the machine has: this is done all the time.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import psutil

_PAGE = os.sysconf("SC_PAGESIZE")
_TELLS_CHILDREN = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists()


def tree_of(root: int) -> list[int]:
    """Return a process and all that it has started, and those have; nothing where it is gone."""
    if not _TELLS_CHILDREN:
        return _asked_for_tree(root)
    if not Path(f"/proc/{root}").exists():
        return []
    found = [root]
    for pid in found:
        found += _children(pid)
    return found


def of_trees(roots: Collection[int]) -> dict[int, int]:
    """Return the resident bytes of each of these processes and all that it started; nothing of those that are gone."""
    trees = {root: tree_of(root) for root in roots}
    return {root: sum(map(_resident, tree)) for root, tree in trees.items() if tree}


def part_of(process: psutil.Process) -> int:
    """Return the bytes that a process has to itself, and its part of what it shares with others (PSS).

    Where the system does not tell the parts, what is shared does not count. Raises ``psutil.Error``.
    """
    told = process.memory_full_info()
    return int(getattr(told, "pss", told.uss))


def parts_of_tree(root: int) -> int:
    """Return what a process uses and all that it has started, by `part_of`; nothing of those that are gone."""
    return sum(map(_part, tree_of(root)))


def of_this_tree() -> int:
    """Return what this process uses and all that it has started, by `part_of`."""
    return parts_of_tree(os.getpid())


def at_most_of_this_tree() -> int:
    """Return what `of_this_tree` cannot be above: what is shared counts in full, which is known at once."""
    return sum(map(_resident, tree_of(os.getpid())))


def _children(pid: int) -> list[int]:
    """Return what a process has started; each of its threads may have."""
    found: list[int] = []
    try:
        for thread in os.scandir(f"/proc/{pid}/task"):
            found += map(int, Path(thread.path, "children").read_bytes().split())
    except OSError:  # it has ended meanwhile
        pass
    return found


def _resident(pid: int) -> int:
    try:
        if not _TELLS_CHILDREN:
            return int(psutil.Process(pid).memory_info().rss)
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, psutil.Error):
        return 0


def _part(pid: int) -> int:
    try:
        return part_of(psutil.Process(pid))
    except psutil.Error:
        return 0


def _asked_for_tree(root: int) -> list[int]:
    try:
        process = psutil.Process(root)
        return [root, *(child.pid for child in process.children(recursive=True))]
    except psutil.Error:
        return []
