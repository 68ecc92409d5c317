"""Ends the MCP server processes that a dead agent left behind, and only those.

An agent marks each server that it starts with ``OMX_AGENT`` and its own name, so a server can be told from one of the
same program that somebody else started. Who calls this knows which agents are dead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import psutil

MARK = "OMX_AGENT"
PATIENCE = 2.0


def left_by(is_dead: Callable[[str], bool]) -> Iterator[psutil.Process]:
    """Yield the processes that were started by agents for whose name ``is_dead`` holds."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            mark = process.environ().get(MARK)
            if mark is not None and is_dead(mark):
                yield process


def reap(is_dead: Callable[[str], bool]) -> int:
    """End what dead agents left: SIGTERM, and SIGKILL two seconds later; returns how many there were."""
    found = list(left_by(is_dead))
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(found, PATIENCE)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, PATIENCE)
    return len(found)
