"""Makes the call of one operation, again where that can do no harm.

::

    session ──► harmless? ──────────────► call ──answer──► succeeded | failed
      ▲          │ no                      ▲ └──lost (timeout, connection gone)──► harmless, tries left ──┐
      │          ▼                         │       │                                                      │
      │         noted, by whom and when ───┘       └──► not harmless: unknown;   no tries left: failed    │
      │          └──was noted before, by another delivery: unknown                                        │
      └────────────── pause: full jitter, and what the server asks for ◄──────────────────────────────────┘

Harmless are resources, prompts, and tools that are read-only or idempotent, by their annotations or by the server
file. Any other call may have been carried out when its answer was lost: it ends as ``unknown``, with what is known of
it. So that this is known when an agent is killed, the call is noted in the run, and the note confirmed, before it is
made: an operation that was begun and whose call was not noted is simply done again.

A call that the server is known not to have taken (its session over HTTP had expired) was not made, and is made again.
A server that answers with an error and says when to ask again (``Retry-After`` of HTTP 429 and 503, or in the error's
data) is asked again then, where that is harmless: that it says so is no promise that nothing was done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from omx_tasks.agents.outages import PostponedError
from omx_tasks.agents.sharing import Sharing, Value
from omx_tasks.errors import OperationError
from omx_tasks.graph.stored import StoredStep
from omx_tasks.mcp.backoff import full_jitter
from omx_tasks.mcp.calls import Kind, Progress, call
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.mcp.session import Session
from omx_tasks.results.joins import Outcome

#: Kinds of error after which nobody knows whether the call was carried out.
LOST_ANSWER = frozenset({"timeout", "connection"})
#: Seconds between two tries: the first pause, and the longest, at most; and the longest that a server may ask for.
FIRST_PAUSE, LONGEST_PAUSE, LONGEST_ASKED = 0.2, 5.0, 60.0

NOT_AGAIN = "the tool is neither read-only nor idempotent, so it was not called again: it may have been done"

#: Notes a call that must not be made twice, before it is made; returns the note of an earlier one, or "".
Note = Callable[[str], Awaitable[str]]
#: Gives the session that the operation's run has for itself, on a stateful server; raises `OperationError`.
OwnSession = Callable[[], Awaitable[Session]]


async def unnoted(_note: str) -> str:
    """Note nothing."""
    return ""


class _Try:
    """One try: its number (and that of the call which was made), when and by whom, and whether it may be done."""

    def __init__(self, number: int, lost: float | None = None) -> None:
        self.number = self.made = number
        self.began = time.time()
        self.asked = lost or self.began
        self.agent = ""
        self.may_be_done = False

    @property
    def cold(self) -> float:
        """Seconds for which it waited for a session; from the loss of the one before on, if that was lost."""
        return max(0.0, self.began - self.asked)


class Caller:
    """Calls the servers of one agent; what an operation may return at most is ``output_limit`` bytes.

    ``waits`` says whether operations of a server are to wait for it; ``called`` is told of a server before each call.
    """

    def __init__(
        self,
        agent: str,
        sessions: SessionPool,
        servers: Mapping[str, ServerConfig],
        output_limit: int,
        waits: Callable[[str], bool] = lambda _: False,
        called: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._agent = agent
        self._sessions = sessions
        self._servers = servers
        self._output_limit = output_limit
        self._waits = waits
        self._called = called
        self._sharing = Sharing()

    def __repr__(self) -> str:
        return f"<Caller {self._agent}>"

    def check(self, server: str, *, begun: bool = False) -> None:
        """Raise `PostponedError` when operations of this server are to wait for it."""
        if self._waits(server):
            raise PostponedError(server, begun=begun)

    async def open(self, server: str) -> None:
        """Have a server opened that is about to be called; whether it could be, the call is told."""
        self._called(server)
        with contextlib.suppress(OperationError):
            await self._sessions.get(server)

    async def call(
        self,
        step: StoredStep,
        attempt: int,
        target: str,
        arguments: dict[str, Any],
        on_progress: Progress | None = None,
        run_id: str = "",
        note: Note = unnoted,
        asked: float | None = None,
        own: OwnSession | None = None,
    ) -> Outcome:
        """Make the call; ``attempt`` counts the deliveries of the operation that were begun, this one included.

        A read is shared with equal ones of the same run that are under way. On a stateful server it is made on the
        run's ``own`` session. Raises `PostponedError` where nothing may have been done, and the server cannot be
        called for now.
        """
        tries, lost_session, noted = 0, asked, False
        if asked is None:
            self._called(step.server)
        while True:
            one = _Try(attempt + tries, lost_session)
            tries += 1
            try:
                if own is None:
                    session = await self._session(step.server, one)
                else:
                    session = await self._own_session(
                        step, one, own, partial(self._note, one, target, note)
                    )
                reads, harmless = self._promises(step, session)
                if not (harmless or noted):
                    await self._note(one, target, note)
                    noted = True
                    if own is None:
                        session = await self._session(
                            step.server, one
                        )  # it may have gone meanwhile
                kind = cast("Kind", step.kind)
                make = partial(call, session, kind, target, arguments, timeout=step.timeout)
                equal = (run_id, step.server, kind, target, step.timeout, json.dumps(arguments))
                one.may_be_done = not harmless
                value, shared = await self._made(make, equal if reads else None, on_progress)
                if own is None:
                    self._sessions.answered(step.server)
                return self._succeeded(value, one, shared)
            except OperationError as error:
                if own is None:
                    self._tell(step.server, error)
                if own is None and not one.may_be_done and error.kind in (*LOST_ANSWER, "server"):
                    self.check(step.server, begun=True)
                one.may_be_done = one.may_be_done and error.taken
                lost = error.kind in LOST_ANSWER
                again = (lost or error.retry_after is not None) and not one.may_be_done
                if not again or tries > step.retries or (error.retry_after or 0) > LONGEST_ASKED:
                    unknown = lost and one.may_be_done
                    return self._unknown(one, error) if unknown else self._failed(one, error)
                pause = full_jitter(tries - 1, FIRST_PAUSE, LONGEST_PAUSE)
                pause += error.retry_after or 0
                lost_session = time.time() if error.kind == "connection" else None
            await asyncio.sleep(pause)

    async def _session(self, server: str, one: _Try) -> Session:
        session = self._sessions.live(server)
        if session is None:
            session = await self._sessions.get(server)
            one.began = time.time()
        return session

    async def _own_session(
        self, step: StoredStep, one: _Try, own: OwnSession, note: Callable[[], Awaitable[None]]
    ) -> Session:
        """Return the run's own session; where it is lost, it matters whether the call was noted before."""
        try:
            session = await own()
        except OperationError:
            if not self.is_harmless(step):
                await note()
            raise
        one.began = time.time()
        return session

    async def _note(self, one: _Try, target: str, note: Note) -> None:
        """Have a call noted that must not be made twice; raises `OperationError` when it may have been made before."""
        about = {"agent": self._agent, "attempt": one.number, "at": time.time(), "target": target}
        told = await note(json.dumps(about))
        if told:
            earlier = json.loads(told)
            one.made, one.began, one.agent = earlier["attempt"], earlier["at"], earlier["agent"]
            one.may_be_done = True
            raise OperationError("connection", "its agent was lost before the outcome was stored")

    def _tell(self, server: str, error: OperationError) -> None:
        """Let the circuit know; a lost connection it sees itself."""
        if error.kind == "timeout":
            self._sessions.timed_out(server, error)
        elif error.kind in ("connection", "server"):
            self._sessions.refused(server, error)
        elif error.kind in ("tool", "protocol", "client_request"):
            self._sessions.answered(server)

    def is_harmless(self, step: StoredStep) -> bool:
        """Whether making this call twice comes to the same as once, as far as is known before it is made."""
        return self._known_promises(step)[1]

    def only_reads(self, step: StoredStep) -> bool:
        """Whether this call only reads, as far as is known before it is made."""
        return self._known_promises(step)[0]

    def _known_promises(self, step: StoredStep) -> tuple[bool, bool]:
        session = self._sessions.live(step.server)
        if session is None and step.kind == "tool":
            hints = self._servers[step.server].hints
            reads = step.target in hints.read_only
            return reads, reads or step.target in hints.idempotent
        return (True, True) if session is None else self._promises(step, session)

    async def _made(
        self, make: Callable[..., Awaitable[Value]], equal: Hashable, on_progress: Progress | None
    ) -> tuple[Value, bool]:
        """Make a call, or wait for the one that is ``equal``; return its value and whether it is another's."""
        if equal is None:
            return await make(on_progress=on_progress), False
        return await self._sharing.call(equal, lambda tell: make(on_progress=tell), on_progress)

    def _succeeded(self, value: dict[str, Any], one: _Try, shared: bool) -> Outcome:
        output = json.dumps(value)
        if len(output) > self._output_limit:
            size = f"the output has {len(output):,} bytes; OMX_OUTPUT_LIMIT allows {self._output_limit:,}"
            return self._failed(one, OperationError("size", size))
        return self._ended("succeeded", one, output=output, shared=shared)

    def _failed(self, one: _Try, error: OperationError) -> Outcome:
        return self._ended("failed", one, error=error.as_json())

    def _unknown(self, one: _Try, error: OperationError) -> Outcome:
        """Say all that is known of a call of which nobody knows whether it was carried out."""
        at = datetime.fromtimestamp(one.began, UTC).isoformat(timespec="milliseconds")
        who = f"attempt {one.made}, made by {one.agent or self._agent} at {at}"
        message = f"{error.message} ({who}); {NOT_AGAIN}"
        return self._ended("unknown", one, error={"kind": error.kind, "message": message})

    def _ended(self, state: str, one: _Try, **fields: Any) -> Outcome:
        who, times = one.agent or self._agent, (one.began, time.time())
        return Outcome(state, one.number, who, *times, cold=one.cold, **fields)

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
