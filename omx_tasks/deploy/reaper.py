"""Ends the MCP server processes that a dead agent left behind, and only those.

An agent marks each server that it starts with ``OMX_AGENT`` in its environment, together with the agent's own
process id, so a server can be told from one of the same program that somebody else started. A server
whose agent lives is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psutil

MARK = "OMX_AGENT"
PATIENCE = 2.0


def orphans(is_mine: Callable[[str], bool]) -> Iterator[psutil.Process]:
    """Yield the server processes of agents for whose name ``is_mine`` holds, and whose parent is gone."""
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARK)
            if mark is not None and is_mine(mark) and _parent_gone(process):
                yield process
        except psutil.Error:
            continue


def reap(is_mine: Callable[[str], bool]) -> int:
    """End the orphans: SIGTERM, and SIGKILL two seconds later; returns how many there were."""
    found = list(orphans(is_mine))
    for process in found:
        _quietly(process.terminate)
    _, alive = psutil.wait_procs(found, PATIENCE)
    for process in alive:
        _quietly(process.kill)
    psutil.wait_procs(alive, PATIENCE)
    return len(found)


def _parent_gone(process: psutil.Process) -> bool:
    """Whether the process was handed to init or to a subreaper: its own parent carries no mark."""
    parent = process.parent()
    if parent is None or parent.pid == 1:
        return True
    return False


def _quietly(act: Callable[[], None]) -> None:
    try:
        act()
    except psutil.NoSuchProcess:
        pass
