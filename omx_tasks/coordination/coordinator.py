"""A coordinator: one of several that take part in leading, with its duties, and handlers of events that all serve.

Threads: one keeps the lease (and nothing else, so that nothing makes it late), one is there for each duty, and the
processor has its own. A cluster that cannot be reached ends none of them.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from omx_tasks.coordination.duties import Duty, Keeper
from omx_tasks.coordination.leader import LEASE, Leader
from omx_tasks.errors import UnavailableError
from omx_tasks.events.handlers import Handler
from omx_tasks.events.processor import Processor
from omx_tasks.store.client import Store

logger = logging.getLogger(__name__)

#: Seconds that a stopping coordinator gives its duties, and its handlers.
GRACE, LAST = 1.0, 10.0
#: Seconds between two tries to serve handlers.
AGAIN = 1.0


class Coordinator:
    """`start` it once, `stop` it once. ``partitions``: of the events, should nobody have said so before."""

    def __init__(
        self,
        make_store: Callable[[], Store],
        duties: Iterable[Duty],
        handlers: Sequence[Handler] = (),
        *,
        partitions: int = 6,
        lease: float = LEASE,
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self.leader = Leader(make_store, self.name, lease=lease)
        self.keepers = [Keeper(duty, self.leader) for duty in duties]
        self._make_store, self._handlers, self._partitions = make_store, handlers, partitions
        self._began = time.time()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._lead, name="lease", daemon=True),
            threading.Thread(target=self._serve, name="handlers", daemon=True),
        ]

    def __repr__(self) -> str:
        return f"<Coordinator {self.name} {self.leader}>"

    def start(self) -> Coordinator:
        """Take part."""
        for thread in self._threads:
            thread.start()
        for keeper in self.keepers:
            keeper.start()
        return self

    def stop(self) -> None:
        """Let what is under way end, for a moment; then let another one lead, and give the events back."""
        for keeper in self.keepers:
            keeper.stop()
        deadline = time.monotonic() + GRACE
        if self.leader.term is not None:
            for keeper in self.keepers:
                if keeper.course.running:
                    keeper.join(max(0.0, deadline - time.monotonic()))
        self._stopping.set()
        self._threads[0].join(LAST)
        self.leader.close()
        self._threads[1].join(2 * LAST)

    def check(self) -> None:
        """Raise `UnavailableError` where it could not lead, or serve, now."""
        if self._stopping.is_set():
            raise UnavailableError("it is stopping")
        if self.leader.trouble is not None:
            raise UnavailableError(self.leader.trouble)
        if not self.leader.heard.is_set():
            raise UnavailableError("the cluster has not answered yet")

    def record(self) -> str:
        """Return what is shown of this process."""
        return json.dumps(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "started": self._began,
                "duties": {keeper.duty.name: keeper.as_json() for keeper in self.keepers},
                "handlers": sorted(handler.name for handler in self._handlers),
            }
        )

    # --- threads ------------------------------------------------------------------------------------

    def _lead(self) -> None:
        led, troubled = False, False
        while True:
            pause = self.leader.beat(self.record())
            trouble, leads = self.leader.trouble, self.leader.term is not None
            if bool(trouble) != troubled:
                troubled = bool(trouble)
                logger.warning("the cluster cannot be asked: %s", trouble) if troubled else (
                    logger.warning("the cluster answers again")
                )
            if leads != led:
                led = leads
                logger.info("%s %s", self.name, "leads" if led else "stands by")
            if self._stopping.wait(pause):
                return

    def _serve(self) -> None:
        """Serve the handlers until the end, as soon as the cluster can be reached."""
        if not self._handlers:
            return
        store = self._make_store()
        while not self._stopping.is_set():
            try:
                processor = Processor(store, self._handlers, partitions=self._partitions)
            except UnavailableError as error:
                logger.warning("handlers cannot be served yet: %s", error)
                self._stopping.wait(AGAIN)
                continue
            processor.start()
            self._stopping.wait()
            if not processor.stop(LAST):
                logger.warning("a handler is still busy; what it has in hand will come again")
        store.close()
