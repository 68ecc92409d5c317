"""Agents as processes: one shared by the session, and fleets of a test's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Fleet, Until

from omx_tasks.store.client import Store


@pytest.fixture(scope="session")
def shared(
    cluster_url: str, tmp_path_factory: pytest.TempPathFactory, until: Until
) -> Iterator[Fleet]:
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
    fleet = Fleet(folder, cluster_url, store, until, others)
    fleet.start()
    yield fleet
    fleet.stop()
    store.close()


@pytest.fixture
def fleet(cluster_url: str, store: Store, tmp_path: Path, until: Until) -> Iterator[Fleet]:
    """No agent yet; what a test starts is stopped after it."""
    fleet = Fleet(tmp_path, cluster_url, store, until)
    yield fleet
    fleet.stop()
