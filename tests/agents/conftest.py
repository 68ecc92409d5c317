"""Agents as processes: one shared by the session, and fleets of a test's own."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet import Fleet

from omx_tasks.store.client import Store


def _until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        pause.wait(0.01)


@pytest.fixture(scope="session")
def shared(cluster_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One agent with the ledger, the notes and the clock."""
    store = Store(cluster_url, timeout=10.0)
    folder = tmp_path_factory.mktemp("shared")
    others = {
        "notes": {
            "command": sys.executable,
            "args": ["-m", "omx_tasks.examples.notes", "--out", str(folder)],
        },
        "time": {"command": sys.executable, "args": ["-m", "mcp_server_time"]},
    }
    fleet = Fleet(folder, cluster_url, store, _until, others)
    fleet.start()
    yield fleet
    fleet.stop()
    store.close()


@pytest.fixture
def fleet(cluster_url: str, store: Store, tmp_path: Path) -> Iterator[Fleet]:
    """No agent yet; what a test starts is stopped after it."""
    fleet = Fleet(tmp_path, cluster_url, store, _until)
    yield fleet
    fleet.stop()
