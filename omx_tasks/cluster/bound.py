"""Run a program that dies with its parent: ``python bound.py PARENT PROGRAM ARGUMENTS…`` (Linux).

A script of its own, which replaces itself by the program, because code between fork and exec is
not safe in a process that has threads. SIGKILL, because a server may refuse SIGTERM while it writes
its first append-only file, and nobody would ask again; what it acknowledged is in its file already.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Ask the kernel for SIGKILL when the parent dies, then become the command."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the parent died before its program started")
    os.execv(command[0], command)  # noqa: S606  # the caller chose the program


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
