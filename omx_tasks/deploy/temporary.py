"""A folder that is gone afterwards, also when the program is interrupted while it removes it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omx_tasks.deploy.interrupts import ignored


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Give a new folder and remove it with all that is in it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        with ignored():
            shutil.rmtree(folder, ignore_errors=True)
