"""Files that one process at a time holds, until it gives them back or ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def take(path: Path) -> int | None:
    """Return a descriptor that holds the file, made where there is none; None where another process holds it.

    A file that was removed since it was opened is held by nobody else's: then the one that is there now is tried.
    """
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            return None
        except BaseException:
            os.close(held)
            raise
        if _is(path, held):
            return held
        os.close(held)


def remove(path: Path, held: int) -> None:
    """Give a file back that this process holds, and leave none behind."""
    path.unlink(missing_ok=True)
    os.close(held)


def _is(path: Path, held: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(held).st_ino
    except FileNotFoundError:
        return False
