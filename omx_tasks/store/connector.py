"""Opens links in a thread of its own: a node that hangs must not hang the event loop that waits for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

from omx_tasks.errors import ConfigurationError, OmxError
from omx_tasks.store.address import Node
from omx_tasks.store.client import CONNECT, WORD, Store
from omx_tasks.store.link import Link, LinkError

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


class Connector:
    """Learns the slot table and opens links when asked; what it made it hands over in ``arrived``.

    ``arrived(node, link)`` is called in this thread; ``link`` is None when the node could not be reached,
    after a pause that doubles from 0.05 to 1 s, so that whoever asks again at once does no harm.
    The thread keeps nobody alive: it must be stopped also by who is dropped.
    """

    def __init__(self, store: Store, arrived: Callable[[Node | None, Link | None], None]) -> None:
        self._store = store
        self._arrived = weakref.WeakMethod(arrived)
        self._wanted: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._pauses: dict[Node | None, float] = {}
        self._complaint = ""
        self._thread: threading.Thread | None = None

    def open(self, node: Node) -> None:
        """Open a link to ``node``."""
        self._ask(partial(self._open, node))

    def refresh(self) -> None:
        """Learn the slot table anew; ``arrived(None, None)`` says that it was tried."""
        self._ask(self._refresh)

    def doubt(self, node: Node) -> None:
        """Ask another node whether a silent one has its slots still; ``arrived(None, None)`` says that it was done."""
        self._ask(partial(self._doubt, node))

    def stop(self) -> None:
        """End the thread, without waiting for a connection under way."""
        self._wanted.put(None)

    def _ask(self, act: Callable[[], None]) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="connector", daemon=True)
            self._thread.start()
        self._wanted.put(act)

    def _run(self) -> None:
        while (act := self._wanted.get()) is not None:
            act()

    def _open(self, node: Node) -> None:
        try:
            link = Link(node, self._store.address, name="omx-poller").connect(CONNECT)
        except (LinkError, ConfigurationError) as error:
            self._complain(error)
            self._pause(node)
            self._refresh()
            self._hand_over(node, None)
        else:
            self._pauses.pop(node, None)
            self._hand_over(node, link)

    def _refresh(self) -> None:
        time.sleep(FIRST_PAUSE)  # a table that is asked for again and again is not settled yet
        try:
            self._store.topology.refresh(CONNECT)
            self._pauses.pop(None, None)
        except OmxError as error:
            self._complain(error)
            self._pause(None)
        self._hand_over(None, None)

    def _doubt(self, node: Node) -> None:
        self._store.topology.serves(node, WORD)
        self._hand_over(None, None)

    def _hand_over(self, node: Node | None, link: Link | None) -> None:
        if arrived := self._arrived():
            arrived(node, link)

    def _complain(self, error: Exception) -> None:
        """Log what somebody must mend; other trouble passes. The same thing is said once."""
        if isinstance(error, ConfigurationError) and str(error) != self._complaint:
            self._complaint = str(error)
            logger.error("%s It is tried again and again.", error)

    def _pause(self, node: Node | None) -> None:
        pause = self._pauses.get(node, FIRST_PAUSE)
        self._pauses[node] = min(pause * 2, LONGEST_PAUSE)
        time.sleep(pause)
