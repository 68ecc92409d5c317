"""A coordinator with one duty more, which shows when it is done, and with which token: ``python acting.py``."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

from omx_tasks import settings
from omx_tasks.coordination.coordinator import Coordinator
from omx_tasks.coordination.duties import Duty
from omx_tasks.coordination.leader import Term
from omx_tasks.store.in_use import make_store
from workers.coordinator import duties

#: The list of acts; the word by which one knows that this process takes part.
KEY, READY = "acts", b"taking part"
EVERY = 0.1


def act(term: Term) -> None:
    """Append one line, through the term as every duty does."""
    line = f"{term.token} {os.getpid()} {time.time():.6f}"
    term.store.command(KEY, "RPUSH", KEY, line)


def main() -> None:
    """Take part until SIGTERM."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    given = settings.current()
    coordinator = Coordinator(make_store, [*duties(given), Duty("act", EVERY, act)]).start()
    coordinator.leader.heard.wait()
    print(READY.decode(), flush=True)
    over.wait()
    coordinator.stop()


if __name__ == "__main__":
    main()
