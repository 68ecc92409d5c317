"""Ends the MCP server processes that a dead agent left behind, and only those.

An agent marks each server that it starts, so that it can be told from one of the same program that somebody else
started: ``OMX_AGENT`` is the agent's name, ``OMX_AGENT_PROCESS`` the process that it is (id and beginning). By the name
whoever keeps agents ends what one left that it saw die. By the process every agent of a machine finds what was left by
agents that nobody keeps, when it starts and now and then; where none is up any more, `omx down` does. A process of
another container has ids that mean nothing here, and is never touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

MARK, PROCESS = "OMX_AGENT", "OMX_AGENT_PROCESS"
PATIENCE = 2.0
#: By how many seconds two processes may differ about when a third one began: the clock may have been set meanwhile.
SKEW = 2.0


def marks(agent: str) -> dict[str, str]:
    """Return the variables of a server that this process starts as this agent."""
    me = psutil.Process()
    return {MARK: agent, PROCESS: f"{me.pid}:{me.create_time():.2f}"}


def left_by(is_dead: Callable[[str], bool]) -> Iterator[psutil.Process]:
    """Yield the processes that were started by agents for whose name ``is_dead`` holds."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            mark = process.environ().get(MARK)
            if mark is not None and is_dead(mark):
                yield process


def orphans() -> Iterator[psutil.Process]:
    """Yield the processes on this machine whose agent's process is gone."""
    here = _namespace(psutil.Process())
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            mark = process.environ().get(PROCESS)
            if mark is not None and _namespace(process) == here and not _is_alive(mark):
                yield process


def reap(is_dead: Callable[[str], bool]) -> int:
    """End what dead agents left: SIGTERM, and SIGKILL two seconds later; returns how many there were."""
    return _end(list(left_by(is_dead)))


def reap_orphans() -> int:
    """End what agents left on this machine whose process is gone, likewise."""
    return _end(list(orphans()))


def _end(found: list[psutil.Process]) -> int:
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(found, PATIENCE)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, PATIENCE)
    return len(found)


def _is_alive(mark: str) -> bool:
    """Whether the process runs that a mark names; one that cannot be read is taken for alive."""
    pid, _, began = mark.partition(":")
    try:
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(began)) < SKEW
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except (ValueError, psutil.Error):
        return True


def _namespace(process: psutil.Process) -> str:
    """Return what tells the machine's process ids from a container's; nothing where there is no such thing."""
    path = Path(f"/proc/{process.pid}/ns/pid")
    return str(path.readlink()) if path.is_symlink() else ""
