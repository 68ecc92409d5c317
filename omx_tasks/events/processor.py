"""Serves handlers in this process: a thread for each lane, and one that hears the bells and keeps the leases.

No handler waits for another one: each has its own place in the log, its own claims and its own thread. Several
processes may serve the same handlers; they share the partitions.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Sequence

from omx_tasks.events import log
from omx_tasks.events.bells import Bells
from omx_tasks.events.consumer import Consumer
from omx_tasks.events.handlers import Handler
from omx_tasks.events.lanes import lanes_of
from omx_tasks.store.client import Store

#: Seconds that the thread waits for a ring before it looks at the leases.
ROUND = 0.25


class Processor:
    """`start` it once, `stop` it once. ``lease``: seconds after which another process takes a dead one's partitions."""

    def __init__(
        self,
        store: Store,
        handlers: Iterable[Handler],
        *,
        partitions: int = 6,
        lease: float = 10.0,
    ) -> None:
        self._store, self._lease = store, lease
        count = log.open_log(store, partitions)
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        self.consumers = [
            Consumer(store, handler, lane, count, name=self.name, lease=lease)
            for handler in handlers
            for lane in lanes_of(handler)
        ]
        self._bells = Bells(store, count, self._rang)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bells", daemon=True)

    def __repr__(self) -> str:
        return f"<Processor {self.consumers}>"

    def start(self) -> Processor:
        """Begin to handle events."""
        for consumer in self.consumers:
            consumer.start()
        self._thread.start()
        return self

    def stop(self, timeout: float = 10.0) -> bool:
        """Let the calls that run end, tell what was handled, give all back; False when a handler took longer."""
        deadline = time.monotonic() + timeout
        ended = [
            consumer.stop(max(0.0, deadline - time.monotonic())) for consumer in self.consumers
        ]
        self._stopping.set()
        self._bells.wake()
        self._thread.join(timeout)
        return all(ended)

    def _rang(self, partition: int, counts: Sequence[int] | None) -> None:
        for consumer in self.consumers:
            consumer.ring(partition, counts)

    def _run(self) -> None:
        renew_at = time.monotonic() + self._lease / 3
        while not self._stopping.is_set():
            self._bells.listen(min(ROUND, self._lease / 10))
            if time.monotonic() >= renew_at:
                renew_at = time.monotonic() + self._lease / 3
                for consumer in self.consumers:
                    consumer.renew()
        self._bells.close()
