"""Makes the call of one operation, again where its answer was lost and that can do no harm.

::

    session ──► call ──answer──► succeeded | failed
      ▲          └──lost (timeout, connection gone)──► harmless, tries left ──┐
      │                        │                                              │
      └────────────────────────┼──────────── pause ◄──────────────────────────┘
                               └──► not harmless: unknown;  no tries left: failed

Harmless are resources, prompts, and tools that are read-only or idempotent, by their annotations or by the server
file. Any other call may have been carried out when its answer was lost: it ends as ``unknown``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from omx_tasks.agents.sharing import Sharing, Value
from omx_tasks.errors import OperationError
from omx_tasks.graph.stored import StoredStep
from omx_tasks.mcp.calls import Kind, Progress, call
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.mcp.session import Session
from omx_tasks.results.joins import Outcome

#: Kinds of error after which nobody knows whether the call was carried out.
LOST_ANSWER = frozenset({"timeout", "connection"})
#: Seconds between two tries: the first pause, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

INTERRUPTED = (
    "an earlier attempt was interrupted before its outcome was stored; the tool is neither read-only nor "
    "idempotent, so it was not called again: it may have been done"
)


class Caller:
    """Calls the servers of one agent; what an operation may return at most is ``output_limit`` bytes."""

    def __init__(
        self,
        agent: str,
        sessions: SessionPool,
        servers: Mapping[str, ServerConfig],
        output_limit: int,
    ) -> None:
        self._agent = agent
        self._sessions = sessions
        self._servers = servers
        self._output_limit = output_limit
        self._sharing = Sharing()

    def __repr__(self) -> str:
        return f"<Caller {self._agent}>"

    async def call(
        self,
        step: StoredStep,
        attempt: int,
        target: str,
        arguments: dict[str, Any],
        on_progress: Progress | None = None,
        run_id: str = "",
    ) -> Outcome:
        """Make the call; ``attempt`` above 1 says that it was begun before and not finished.

        A read is shared with equal ones of the same run that are under way.
        """
        harmless = True  # nothing is lost while nothing was sent
        tries = 0
        while True:
            tries += 1
            asked = began = time.time()
            try:
                session = self._sessions.live(step.server)
                if session is None:
                    session = await self._sessions.get(step.server)
                    began = time.time()
                reads, harmless = self._promises(step, session)
                if attempt > 1 and not harmless:
                    raise OperationError("connection", INTERRUPTED)
                kind = cast("Kind", step.kind)
                make = partial(call, session, kind, target, arguments, timeout=step.timeout)
                equal = (run_id, step.server, kind, target, step.timeout, json.dumps(arguments))
                value, shared = await self._made(make, equal if reads else None, on_progress)
                outcome = self._succeeded(value, attempt + tries - 1, began, shared)
                return replace(outcome, cold=began - asked)
            except OperationError as error:
                lost = error.kind in LOST_ANSWER
                if not (lost and harmless and tries <= step.retries):
                    state = "unknown" if lost and not harmless else "failed"
                    outcome = self._ended(state, attempt + tries - 1, began, error)
                    return replace(outcome, cold=began - asked)
            await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1)))

    def is_harmless(self, step: StoredStep) -> bool:
        """Whether making this call twice comes to the same as once, as far as is known before it is made."""
        if step.kind != "tool":
            return True
        session = self._sessions.live(step.server)
        if session is None:
            hints = self._servers[step.server].hints
            return step.target in hints.read_only | hints.idempotent
        return self._promises(step, session)[1]

    async def _made(
        self, make: Callable[..., Awaitable[Value]], equal: Hashable, on_progress: Progress | None
    ) -> tuple[Value, bool]:
        """Make a call, or wait for the one that is ``equal``; return its value and whether it is another's."""
        if equal is None:
            return await make(on_progress=on_progress), False
        return await self._sharing.call(equal, lambda tell: make(on_progress=tell), on_progress)

    def _succeeded(
        self, value: dict[str, Any], attempts: int, began: float, shared: bool
    ) -> Outcome:
        output = json.dumps(value)
        if len(output) > self._output_limit:
            size = f"the output has {len(output):,} bytes; OMX_OUTPUT_LIMIT allows {self._output_limit:,}"
            return self._ended("failed", attempts, began, OperationError("size", size))
        times = began, time.time()
        return Outcome("succeeded", attempts, self._agent, *times, output=output, shared=shared)

    def _ended(self, state: str, attempts: int, began: float, error: OperationError) -> Outcome:
        return Outcome(state, attempts, self._agent, began, time.time(), error.as_json())

    def _promises(self, step: StoredStep, session: Session) -> tuple[bool, bool]:
        """Return whether this call only reads, and whether making it twice comes to the same as once."""
        if step.kind != "tool":
            return True, True
        hints = self._servers[step.server].hints
        reads, harmless = step.target in hints.read_only, step.target in hints.idempotent
        for tool in session.description["tools"]:
            if tool["name"] == step.target:
                annotations = tool.get("annotations") or {}
                reads = reads or bool(annotations.get("readOnlyHint"))
                harmless = harmless or bool(annotations.get("idempotentHint"))
        return reads, reads or harmless
