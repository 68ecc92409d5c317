"""Included by an agent that is to fall deaf: a task after which its consumer waits for answers that never come."""

from __future__ import annotations

import time

from celery import shared_task

from omx_tasks.agents.pool import TaskPool
from omx_tasks.broker import poller

WEDGE = "wedges.wedge"
#: Seconds after which a queue that does not answer is attended to anew, here.
poller.DEAF, poller.SLOW_POLL = 1.0, 0.5
#: Seconds in which a claim that is under way is answered.
ANSWERED = 0.1


@shared_task(name=WEDGE)
def wedge() -> None:
    """Take a claim for one that is under way, for each queue; one that is really under way is answered first."""
    assert TaskPool.host is not None
    transport = TaskPool.host.liveness._transport
    assert transport is not None
    found = transport.poller._consumptions.values
    while listening := [one for one in list(found()) if one.link is None]:
        for consumption in listening:
            consumption.link = transport.poller._links.of(consumption.slot)
        time.sleep(ANSWERED)
