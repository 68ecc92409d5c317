"""Where a process reads and writes that has left its starter's terminal. Imports little: light processes use it."""

from __future__ import annotations

import os


def redirect(log: str | os.PathLike[str], mode: int) -> None:
    """Read nothing from now on, and append what is written to the log; it is made with this ``mode``."""
    source = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode)
    for old, new in ((source, 0), (output, 1), (output, 2)):
        os.dup2(old, new)
    os.close(source)
    os.close(output)
