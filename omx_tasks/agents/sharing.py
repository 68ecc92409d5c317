"""One execution for equal reads: calls of one run that ask the same while it is being answered share the answer.

::

    first of its kind ──► calls ──answer or error──► all who asked the same meanwhile have it too
                            └──cancelled──► one of those who wait calls anew

Within one agent: two agents do not know of each other's calls. Only what is read-only is shared.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeAlias

from omx_tasks.errors import OperationError
from omx_tasks.mcp.calls import Progress

Value: TypeAlias = dict[str, Any]


class _Shared:
    """One call that is under way; neither a value nor an error at its end means that it was given up."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.value: Value | None = None
        self.error: OperationError | None = None
        self.listeners: list[Progress] = []

    async def tell(self, progress: float, total: float | None, message: str | None) -> None:
        for listener in list(self.listeners):
            told = listener(progress, total, message)
            if inspect.isawaitable(told):
                await told


class Sharing:
    """The shared calls of one agent. Lives on one loop."""

    def __init__(self) -> None:
        self._calls: dict[Hashable, _Shared] = {}

    def __repr__(self) -> str:
        return f"<Sharing calls={len(self._calls)}>"

    async def call(
        self,
        key: Hashable,
        make: Callable[[Progress], Awaitable[Value]],
        listener: Progress | None,
    ) -> tuple[Value, bool]:
        """Return the value of ``make``, and whether another made the call; ``listener`` hears its progress."""
        listeners = [] if listener is None else [listener]
        while (other := self._calls.get(key)) is not None:
            other.listeners += listeners
            try:
                await other.over.wait()
            finally:
                other.listeners = [one for one in other.listeners if one is not listener]
            if other.error is not None:
                raise OperationError(other.error.kind, other.error.message)
            if other.value is not None:
                return other.value, True
        own = self._calls[key] = _Shared()
        own.listeners += listeners
        try:
            own.value = await make(own.tell)
        except OperationError as error:
            own.error = error
            raise
        finally:
            del self._calls[key]
            own.over.set()
        return own.value, False
