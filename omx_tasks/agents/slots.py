"""How many operations an agent runs at once: a semaphore whose size can be changed while it is in use."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """`wait` for a place, or `take` one at once; first come, first served. Lives on one loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self._line: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"<Slots {self.taken}/{self.size}>"

    def resize(self, size: int) -> None:
        """Change the size; who has a place keeps it."""
        self.size = size
        self._hand_out()

    def take(self) -> bool:
        """Take a place if there is one that nobody waits for."""
        if self.taken >= self.size or self._line:
            return False
        self.taken += 1
        return True

    async def wait(self) -> None:
        """Take a place, waiting for it."""
        if self.take():
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the place was given at the same moment
                self.give_back()
            raise

    def give_back(self) -> None:
        """Give a place to the next in line."""
        self.taken -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._line and self.taken < self.size:
            turn = self._line.popleft()
            if not turn.done():
                self.taken += 1
                turn.set_result(None)
