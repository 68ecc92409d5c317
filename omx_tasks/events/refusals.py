"""Tells that a graph was refused before anything of it was queued, so that others find it than who asked.

Like all events it is counted. It names the graph and its operations, and repeats no error of theirs: that may quote
arguments or inputs.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from omx_tasks import settings
from omx_tasks.errors import ConfigurationError, OmxError, UsageError
from omx_tasks.events.bus import Draft
from omx_tasks.events.now import publish_now
from omx_tasks.store.client import Store
from omx_tasks.store.in_use import make_store

logger = logging.getLogger(__name__)

#: Seconds for which it is tried, and characters of a reason.
PATIENCE, LONGEST = 1.0, 500
_OPERATION = re.compile(r"\boperation '([^']+)'")


@contextmanager
def told(store: Store | None, name: str, source: str) -> Iterator[None]:
    """Tell of a `UsageError` that ends what is done here, which is trying to submit the graph ``name``.

    The error is not held up by that: a thread tells it, for which the end of the process waits a moment. Without a
    ``store`` it makes one of the cluster in use.
    """
    try:
        yield
    except UsageError as error:
        draft = Draft("run.refused", _said(error, name, source))
        threading.Thread(target=_tell, args=(store, draft), name="refusal").start()
        raise


def _said(error: UsageError, name: str, source: str) -> dict[str, object]:
    wrong = "the graph or one of its inputs is wrong"
    reason = str(error)[:LONGEST] if isinstance(error, ConfigurationError) else wrong
    operations = list(dict.fromkeys(_OPERATION.findall(str(error))))
    return {"name": name, "source": source, "reason": reason, "operations": operations}


def _tell(store: Store | None, draft: Draft) -> None:
    try:
        if store is not None:
            publish_now(store, settings.current(), [draft], timeout=PATIENCE)
            return
        with closing(make_store()) as own:
            publish_now(own, settings.current(), [draft], timeout=PATIENCE)
    except OmxError as error:
        logger.warning("the event %s was not published: %s", draft.type, error)
