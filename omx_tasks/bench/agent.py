"""The app of the agent that is measured. All of it is real (queue, claim, strategy, pool, ack), but for the calls: they
are made to no server, succeed at once and count themselves.

It consumes what it is told to: it offers no server, and would leave the queue of one as soon as it looked.

With `STATELESS` in its environment the agent does not write the run's state either: what is left is what any Celery
worker does for a task without a result.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery.signals import worker_ready

from omx_tasks import settings
from omx_tasks.agents.caller import Caller
from omx_tasks.agents.host import Host
from omx_tasks.agents.pool import TaskPool
from omx_tasks.agents.queues import CapabilityQueues
from omx_tasks.agents.runner import Runner
from omx_tasks.agents.work import Work
from omx_tasks.bench.app import STATELESS, announce, tally
from omx_tasks.celery import agent_bus, app
from omx_tasks.graph.stored import StoredStep
from omx_tasks.mcp.config import ServerFile
from omx_tasks.results.joins import Outcome
from omx_tasks.runs.dispatch import publish_ready
from omx_tasks.store.in_use import make_store

#: The value of a call that returned nothing.
NOTHING = '{"text": "", "structured": null, "content": []}'


class NoCaller(Caller):
    """Calls no server: as harmless as a call can be."""

    def is_harmless(self, step: StoredStep) -> bool:  # noqa: ARG002
        """Nothing is done, so it may be done twice."""
        return True

    def check(self, server: str, *, begun: bool = False) -> None:
        """Let every operation begin."""

    async def call(
        self,
        step: StoredStep,  # noqa: ARG002
        attempt: int,
        *_arguments: Any,
        **_others: Any,
    ) -> Outcome:
        """Succeed at once."""
        tally().add()
        now = time.time()
        return Outcome("succeeded", attempt, self._agent, now, now, None, NOTHING)


class NoStateRunner(Runner):
    """Ends each operation on the loop, as soon as it is there."""

    async def _carry_out(self, work: Work) -> None:
        tally().add()
        self._endings.end(work, None, None)


class NoServersHost(Host):
    """A host without servers."""

    make_caller = NoCaller


class NoStateHost(NoServersHost):
    """A host without servers that stores nothing."""

    make_runner = NoStateRunner


def make_host(node: str, slots: int) -> Host:
    """Make the agent's parts."""
    kind = NoStateHost if STATELESS in os.environ else NoServersHost
    return kind(
        name=node,
        slots=slots,
        store=make_store(),
        servers=ServerFile(Path(), {}, ""),
        settings=settings.current(),
        advance=publish_ready,
        environ=os.environ,
        publisher=agent_bus(),
    )


TaskPool.make_host = make_host
app.steps["consumer"].discard(CapabilityQueues)
worker_ready.connect(announce)

__all__ = ["app"]
