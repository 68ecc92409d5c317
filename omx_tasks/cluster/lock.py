"""One process at a time works on a cluster's folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omx_tasks import locks
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
    try:
        return locks.take(path)
    except FileNotFoundError:  # its folder was deleted since, with its cluster
        return None
