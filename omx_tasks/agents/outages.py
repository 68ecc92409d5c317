"""What becomes of operations while their server cannot be called from this agent.

::

                        ┌─ less than the patience ago, or another agent can call it ──► they wait in their queue,
    circuit not closed ─┤                                                               which is not consumed here
                        └─ longer, and nobody can ──► they are taken and fail, with the reason

They wait where every agent sees them: who can call the server takes them, and when it comes back here they are taken
here. None was begun, so none of this counts as an attempt or a delivery, nor is anything asked again and again. That
they fail in the end (``OMX_SERVER_PATIENCE``) is what a person expects of a server that is not going to come back.

An operation whose answer was lost just before, and which may be called again, goes back as well; that counts as a
delivery, so one that brings its server down each time ends among the dead messages.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from omx_tasks.agents.capabilities import Capabilities
from omx_tasks.agents.registry import agents
from omx_tasks.errors import OmxError
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.store.client import Store

#: Seconds between two looks at the other agents, while a server cannot be called.
EVERY = 1.0

logger = logging.getLogger(__name__)


class PostponedError(OmxError):
    """An operation goes back to its queue because its server cannot be called; ``begun`` says that it was tried."""

    def __init__(self, server: str, *, begun: bool) -> None:
        super().__init__(f"server {server!r} cannot be called for now")
        self.begun = begun


class Outages:
    """Lives on the agent's loop. ``changed`` is called when other queues are to be consumed than before."""

    def __init__(
        self,
        agent: str,
        sessions: SessionPool,
        capabilities: Capabilities,
        store: Store,
        patience: float,
        changed: Callable[[], None],
    ) -> None:
        self._agent = agent
        self._sessions = sessions
        self._capabilities = capabilities
        self._store = store
        self._patience = patience
        self._changed = changed
        self._elsewhere: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Outages of {self._agent}: {sorted(self._waited_for())}>"

    def waits(self, server: str) -> bool:
        """Whether operations of a server wait rather than being begun."""
        circuit = self._sessions.circuits().get(server)
        if circuit is None or circuit.closed:
            return False
        return circuit.unwell <= self._patience or server in self._elsewhere

    def look(self) -> None:
        """A circuit has changed: see which queues are consumed, and go on looking while one is not closed."""
        self._apply()
        if self._task is None and self._unwell():
            self._task = asyncio.get_running_loop().create_task(self._watch(), name="outages")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        try:
            while self._unwell():
                self._elsewhere = await asyncio.to_thread(self._others)
                self._apply()
                await asyncio.sleep(EVERY)
        finally:
            self._task = None

    def _unwell(self) -> list[str]:
        return [name for name, one in self._sessions.circuits().items() if not one.closed]

    def _waited_for(self) -> frozenset[str]:
        return frozenset(filter(self.waits, self._unwell()))

    def _apply(self) -> None:
        waited_for = self._waited_for()
        if waited_for != self._capabilities.paused:
            self._capabilities.paused = waited_for
            self._changed()

    def _others(self) -> frozenset[str]:
        """Read which servers other agents can call."""
        try:
            records = [one for one in agents(self._store) if one.name != self._agent]
        except OmxError as error:
            logger.warning("the other agents could not be looked at: %s", error)
            return self._elsewhere
        return frozenset(
            name for one in records for name in one.servers if name not in one.circuits
        )
