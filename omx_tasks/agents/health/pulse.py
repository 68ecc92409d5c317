"""Shows whoever keeps an agent that its loop goes on: a file that is touched once a second, beside the agent's log.

It is no matter of the cluster: an agent that cannot reach that is not hung, and is not to be ended for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

#: Seconds between two touches.
EVERY = 1.0


def file_of(folder: Path, agent: str) -> Path:
    """Return the file of an agent, by its name or its node's."""
    return folder / f"{agent.partition('@')[0]}.pulse"


class Pulse:
    """Touches ``file`` from the loop; nothing where there is none. Lives on one loop."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Pulse {self._file}>"

    async def start(self) -> None:
        """Begin."""
        if self._file is not None:
            self._task = asyncio.create_task(self._beat(self._file), name="pulse")

    async def stop(self) -> None:
        """Touch it no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self, file: Path) -> None:
        while True:
            with contextlib.suppress(
                OSError
            ):  # who looks at it can then not tell, and does nothing
                os.utime(file)
            await asyncio.sleep(EVERY)
