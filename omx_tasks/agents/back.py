"""How a message goes back to its queue whose operation was not ended here: the reason says what that counts as.

In the agent's own pool the message is at hand. Celery's other pools may have it in another process: there the task
raises Celery's `Reject`, which brings the way back along as what it calls ``requeue``.
"""

from __future__ import annotations

from celery.exceptions import Reject

from omx_tasks.agents.outages import PostponedError
from omx_tasks.agents.run_state import EarlyError
from omx_tasks.agents.turns import WaitsError
from omx_tasks.broker.leases import Back
from omx_tasks.errors import OmxError


def way_back(error: OmxError) -> Back:
    """Return how the message goes back of an operation that ended with this error."""
    if isinstance(error, WaitsError):
        return Back.PARKED
    if isinstance(error, EarlyError) or (isinstance(error, PostponedError) and not error.begun):
        return Back.UNBEGUN
    return Back.RELEASED


def rejection(error: OmxError) -> Reject:
    """Return what a task raises for that."""
    return Reject(str(error), requeue=way_back(error))
