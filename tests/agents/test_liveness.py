"""What an agent says of itself: whether it consumes, and what masters without a replica accepted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery
from fleet import Fleet
from wedges import WEDGE

from omx_tasks.agents.registry import AgentRecord, accepted_alone, agents
from omx_tasks.broker.transport import register
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.store.client import Store

Until = Callable[..., None]
OMX = Path(sys.executable).with_name("omx")


def _record(fleet: Fleet) -> AgentRecord:
    (record,) = [one for one in agents(fleet.store) if one.name == fleet.agents[0].name]
    return record


def test_a_consumer_that_does_not_consume_is_repaired_without_a_restart_and_counted(
    fleet: Fleet,
    cluster_url: str,
    queue: str,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
    fleet.start(4, options=["-I", "wedges", "-Q", queue, "--without-mingle", "--without-gossip"])
    assert fleet.run(fleet.call("before")).succeeded
    until(lambda: _record(fleet).silence is not None)
    before = _record(fleet)
    register()
    with Celery("outside", broker=cluster_url, set_as_current=False) as app:
        app.send_task(WEDGE, queue=queue, ignore_result=True)
        until(lambda: _record(fleet).repaired)
    assert fleet.run(fleet.call("after")).succeeded
    assert before.repaired == 0
    assert _record(fleet).pid == before.pid
    until(lambda: (_record(fleet).silence or 0) < 1.0)


@pytest.fixture
def single(tmp_path: Path, until: Until) -> Iterator[Fleet]:
    """A fleet on a cluster without replicas."""
    cluster = EmbeddedCluster(tmp_path / "cluster", replicas=0)
    cluster.up(bound=True)
    store = Store(cluster.url(), timeout=10.0)
    fleet = Fleet(tmp_path, cluster.url(), store, until)
    yield fleet
    fleet.stop()
    store.close()
    cluster.down(delete=True, timeout=2)


def test_what_a_master_alone_has_accepted_is_counted_and_said(single: Fleet, until: Until) -> None:
    single.start(4)
    assert single.run(*(single.call(f"c{number}") for number in range(5))).succeeded
    until(lambda: accepted_alone([_record(single)]))
    counted = accepted_alone([_record(single)])
    assert set(counted) <= {str(node) for node in single.store.topology.masters}
    done = subprocess.run(
        [OMX, "queues"],
        env={**os.environ, "OMX_BROKER_URL": single.url},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "3 of 3 shards without replica" in done.stderr
    for node in counted:
        assert f"shard {node} has no replica: writes accepted by it alone" in done.stderr
