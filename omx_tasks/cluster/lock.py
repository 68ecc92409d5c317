"""One process at a time works on a cluster's folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omx_tasks.cluster.peer import POLL_SECONDS
from omx_tasks.cluster.record import LOCK_NAME, folder_error
from omx_tasks.errors import ClusterError


@contextmanager
def folder_lock(directory: Path, deadline: float) -> Iterator[None]:
    """Make the folder where it is missing, and hold its lock, which ends with the process.

    Raises ClusterError where the folder cannot be written to, or another process still holds the
    lock when ``time.monotonic()`` reaches ``deadline``.
    """
    path = directory / LOCK_NAME
    try:
        while (held := _try(path)) is None:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"another process starts or stops the cluster in {directory}: "
                    "wait for its end and try again"
                )
            time.sleep(POLL_SECONDS)
    except OSError as error:
        raise folder_error(directory, error) from error
    try:
        yield
    finally:
        os.close(held)


def _try(path: Path) -> int | None:
    """Return a descriptor that holds the lock, None where another process has it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(held).st_ino:  # else deleted since with its cluster
            return held
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(held)
        raise
    os.close(held)
    return None
