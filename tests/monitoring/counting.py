"""Counts the events of a cluster until it is killed: ``python counting.py URL LEASE``."""

from __future__ import annotations

import signal
import sys

from omx_tasks.events.processor import Processor
from omx_tasks.monitoring.tracker import Tracker
from omx_tasks.settings import Settings
from omx_tasks.store.client import Store

if __name__ == "__main__":
    store = Store(sys.argv[1])
    Processor(store, [Tracker(store, Settings()).handler()], lease=float(sys.argv[2])).start()
    signal.pause()
