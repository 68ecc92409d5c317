"""Runs one operation: fetch what it refers to, call the server, write the outcome, release what follows.

::

    perform:  start ──go──► resolve ──► call ⟲ retry where safe ──► Outcome
                └─over──► nothing to do                  (foreach: expand instead of call)
    settle:   finish (outcome stored, joins counted) ──► publish what became ready ──► done (the message is acked)

All of it happens on the loop thread of the agent, many operations at once; what goes to the cluster goes through the
courier, so that a batch that was claimed together also starts, finishes and publishes together.

A call whose answer was lost (timeout, connection gone) is made again only where that can do no harm: resources,
prompts, and tools that are read-only or idempotent, by their annotations or by the server file. Any
other operation ends as ``unknown``: it may have been done. The same holds for a message that is delivered again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from omx_tasks.errors import OmxError, OperationError
from omx_tasks.graph import references
from omx_tasks.graph.stored import StoredPlan, StoredStep, item_of
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.mcp.session import Session
from omx_tasks.results import joins
from omx_tasks.results.joins import Outcome, Start
from omx_tasks.store.courier import Courier
from omx_tasks.store.scripts import Call

#: Makes the calls that publish operations which became ready: run id, plan, ids.
Advance = Callable[[str, StoredPlan, Sequence[str]], list[Call]]
#: Told how an operation ended (None: there was nothing to do), when all that follows from it is stored; or the error
#: for which it could not be stored, and the message must be delivered again.
Done = Callable[[Outcome | None, OmxError | None], None]

#: Kinds of error after which nobody knows whether the call was carried out.
LOST_ANSWER = frozenset({"timeout", "connection"})
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
KEPT_PLANS = 256

logger = logging.getLogger(__name__)


class Runner:
    """Runs operations on the loop thread; at most ``slots`` calls at once."""

    def __init__(
        self,
        *,
        agent: str,
        courier: Courier,
        sessions: SessionPool,
        servers: Mapping[str, ServerConfig],
        advance: Advance,
        slots: int,
        output_limit: int,
    ) -> None:
        self._agent = agent
        self._courier = courier
        self._sessions = sessions
        self._servers = servers
        self._advance = advance
        self._output_limit = output_limit
        self._slots = asyncio.Semaphore(slots)
        self._plans: dict[str, asyncio.Future[StoredPlan]] = {}
        self._under_way = 0
        self._idle = threading.Condition()
        self.busy = 0
        self.done = 0

    def __repr__(self) -> str:
        return f"<Runner {self._agent} under_way={self._under_way} done={self.done}>"

    async def run(self, run_id: str, operation: str, done: Done) -> None:
        """Run an operation and settle it; ``done`` is called, from the courier's thread, when it is stored."""
        with self._idle:
            self._under_way += 1
        try:
            plan, outcome = await self._perform(run_id, operation)
        except OmxError as error:
            self._end(done, None, error)
            return
        if outcome is None or plan is None:
            self._end(done, None, None)
        else:
            self._settle(run_id, plan, operation, outcome, done)

    async def perform(self, run_id: str, operation: str) -> Outcome | None:
        """Do all of an operation but its settlement; None when there is nothing (more) to settle.

        Raises `OmxError` when the cluster could not be asked: the message must be delivered again.
        """
        return (await self._perform(run_id, operation))[1]

    async def _perform(
        self, run_id: str, operation: str
    ) -> tuple[StoredPlan | None, Outcome | None]:
        try:
            plan = await self._plan(run_id)
        except LookupError:
            logger.warning("run %s is gone; its operation %s is dropped", run_id, operation)
            return None, None
        try:
            return plan, await self._begin(run_id, plan, operation)
        except OmxError:
            raise
        except Exception as error:  # a fault of ours ends this operation, not the agent nor the run
            logger.exception("operation %s of run %s met an internal error", operation, run_id)
            message = f"internal error of the agent: {type(error).__name__}: {error}"
            return plan, Outcome(
                "failed", 1, self._agent, error={"kind": "internal", "message": message}
            )

    async def _begin(self, run_id: str, plan: StoredPlan, operation: str) -> Outcome | None:
        step = plan.step(operation)
        start = joins.started(
            await self._ask(joins.start(run_id, operation, self._agent, step.references)),
            step.references,
        )
        if start.verdict != "go":
            return None
        scope = self._scope(plan, operation, start)
        if step.foreach is not None and item_of(operation)[1] is None:
            return await self._expand(run_id, plan, operation, step, scope)
        return await self._attempt(step, start, scope)

    def _scope(self, plan: StoredPlan, operation: str, start: Start) -> dict[str, Any]:
        scope = {"inputs": plan.inputs, **start.values}
        index = item_of(operation)[1]
        return scope if index is None else {**scope, "item": start.item, "index": index}

    async def _expand(
        self,
        run_id: str,
        plan: StoredPlan,
        operation: str,
        step: StoredStep,
        scope: Mapping[str, Any],
    ) -> Outcome | None:
        try:
            items = references.evaluate(step.foreach or "", scope)
            if not isinstance(items, list):
                kind = type(items).__name__
                raise OperationError(
                    "foreach", f"{step.foreach} is no list but {kind}: {items!r:.100}"
                )
        except OperationError as error:
            return Outcome("failed", 1, self._agent, error=error.as_json())
        ready = await self._ask(joins.expand(run_id, operation, items))
        for publish in self._advance(run_id, plan, [name.decode() for name in ready]):
            await self._ask(publish)
        return None

    # --- the call -----------------------------------------------------------------------------------

    async def _attempt(self, step: StoredStep, start: Start, scope: Mapping[str, Any]) -> Outcome:
        try:
            target = references.resolve(step.target, scope)
            arguments = references.resolve(step.arguments, scope)
        except OperationError as error:
            return Outcome("failed", start.attempt, self._agent, error=error.as_json())
        async with self._slots:
            self.busy += 1
            try:
                return await self._call_safely(step, start.attempt, str(target), arguments)
            finally:
                self.busy -= 1

    async def _call_safely(
        self, step: StoredStep, attempt: int, target: str, arguments: dict[str, Any]
    ) -> Outcome:
        began = time.time()
        harmless: bool | None = None
        tries = 0
        while True:
            tries += 1
            try:
                session = await self._sessions.get(step.server)
                harmless = self._is_harmless(step, session)
                if attempt > 1 and not harmless and tries == 1:
                    raise OperationError("connection", _INTERRUPTED)
                began = time.time()
                value = await call(session, step.kind, target, arguments, timeout=step.timeout)  # type: ignore[arg-type]
                return self._succeeded(value, attempt + tries - 1, began)
            except OperationError as error:
                lost = error.kind in LOST_ANSWER
                if lost and harmless and tries <= step.retries:
                    await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1)))
                    continue
                state = "unknown" if lost and harmless is False else "failed"
                return Outcome(
                    state, attempt + tries - 1, self._agent, began, time.time(), error.as_json()
                )

    def _succeeded(self, value: dict[str, Any], attempts: int, began: float) -> Outcome:
        ended = time.time()
        size = len(json.dumps(value))
        if size > self._output_limit:
            message = (
                f"the output has {size:,} bytes; OMX_OUTPUT_LIMIT allows {self._output_limit:,}"
            )
            error = OperationError("size", message).as_json()
            return Outcome("failed", attempts, self._agent, began, ended, error)
        return Outcome("succeeded", attempts, self._agent, began, ended, None, value)

    def _is_harmless(self, step: StoredStep, session: Session) -> bool:
        """Whether making this call twice comes to the same as making it once."""
        if step.kind != "tool":
            return True
        hints = self._servers[step.server].hints
        if step.target in hints.read_only or step.target in hints.idempotent:
            return True
        for tool in session.description["tools"]:
            if tool["name"] == step.target:
                annotations = tool.get("annotations") or {}
                return bool(annotations.get("readOnlyHint") or annotations.get("idempotentHint"))
        return False

    # --- the cluster --------------------------------------------------------------------------------

    async def _plan(self, run_id: str) -> StoredPlan:
        """Return a run's plan, read once by each agent."""
        known = self._plans.get(run_id)
        if known is None:
            while len(self._plans) >= KEPT_PLANS:
                self._plans.pop(next(iter(self._plans)))
            known = self._plans[run_id] = asyncio.ensure_future(self._read_plan(run_id))
        try:
            return await asyncio.shield(known)
        except (LookupError, OmxError):
            self._plans.pop(run_id, None)
            raise

    async def _read_plan(self, run_id: str) -> StoredPlan:
        document = await self._ask(joins.read_plan(run_id))
        if document is None:
            raise LookupError(run_id)
        return StoredPlan.parse(document)

    def _ask(self, request: Call) -> Awaitable[Any]:
        """Have the courier make a call; the answer, or its error, comes back to the loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def answered(reply: Any) -> None:
            loop.call_soon_threadsafe(_resolve, future, reply)

        self._courier.send(request, answered)
        return future

    def _settle(
        self, run_id: str, plan: StoredPlan, operation: str, outcome: Outcome, done: Done
    ) -> None:
        """Finish, then publish, then say done: in the courier's thread, one trip each."""

        def finished(ready: Any) -> None:
            if isinstance(ready, OmxError):
                self._end(done, None, ready)
                return
            publications = self._advance(run_id, plan, [name.decode() for name in ready])
            if publications:
                self._courier.post(lambda: _in_turn(publications, published))
            else:
                self._end(done, outcome, None)

        def published(error: OmxError | None) -> None:
            self._end(done, outcome, error)

        goes_on = plan.step(operation).goes_on
        self._courier.send(joins.finish(run_id, operation, outcome, goes_on=goes_on), finished)

    def _end(self, done: Done, outcome: Outcome | None, error: OmxError | None) -> None:
        with self._idle:
            self._under_way -= 1
            self.done += 1
            self._idle.notify_all()
        done(outcome, error)

    def drain(self, timeout: float) -> bool:
        """Wait until nothing is under way; False when ``timeout`` seconds were not enough."""
        with self._idle:
            return self._idle.wait_for(lambda: self._under_way == 0, timeout)


_INTERRUPTED = (
    "an earlier attempt was interrupted before its outcome was stored; the tool is neither read-only nor "
    "idempotent, so it was not called again: it may have been done"
)


def _in_turn(
    calls: Sequence[Call], done: Callable[[OmxError | None], None]
) -> Iterator[tuple[Call, Callable[[Any], None]]]:
    """Pair calls with answers such that ``done`` is told once, with the first error if there was one."""
    replies: list[Any] = []

    def answered(reply: Any) -> None:
        replies.append(reply)
        if len(replies) == len(calls):
            done(next((reply for reply in replies if isinstance(reply, OmxError)), None))

    for request in calls:
        yield request, answered


def _resolve(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, OmxError):
        future.set_exception(reply)
    else:
        future.set_result(reply)
