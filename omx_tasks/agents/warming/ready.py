"""What an agent's first operation would be the first to need: had before the agent says that it is warm.

What is the same for all agents is built once a process, before the fork where they are forks. The masters are told the
scripts of an operation: one that a master does not know is refused, and sent again with its text.
"""

from __future__ import annotations

import logging

from omx_tasks.errors import OmxError
from omx_tasks.mcp import beforehand
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import script

#: What an operation's way from its queue to its outcome, and on to the next one's queue, asks of the cluster.
SCRIPTS = (
    "claim_1",
    "renew_1",
    "read_plan_1",
    "start_1",
    "sent_1",
    "finish_1",
    "publish_1",
    "ack_1",
)

logger = logging.getLogger(__name__)


def build() -> None:
    """Make what is the same for all agents."""
    beforehand.build()
    for name in SCRIPTS:
        script(name)


def get_ready(store: Store) -> None:
    """Do both; where scripts cannot be loaded, operations bring them along."""
    build()
    try:
        store.teach([script(name) for name in SCRIPTS])
    except OmxError as error:
        logger.info("scripts were not loaded beforehand: %s", error)
