"""How many operations an agent runs at once: a semaphore whose size can be changed while it is in use."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """``async with slots: …`` waits for a place; first come, first served. Lives on one loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self._line: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"<Slots {self.taken}/{self.size}>"

    @property
    def free(self) -> int:
        """How many places nobody has or waits for."""
        return 0 if self._line else max(0, self.size - self.taken)

    def resize(self, size: int) -> None:
        """Change the size; who has a place keeps it."""
        self.size = size
        self._hand_out()

    async def __aenter__(self) -> None:
        """Wait for a place."""
        if self.taken < self.size and not self._line:
            self.taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the place was given at the same moment
                self._give_back()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Give the place to the next in line."""
        self._give_back()

    def _give_back(self) -> None:
        self.taken -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._line and self.taken < self.size:
            turn = self._line.popleft()
            if not turn.done():
                self.taken += 1
                turn.set_result(None)
