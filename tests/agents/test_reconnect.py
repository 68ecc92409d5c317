"""A worker whose connection to the broker is lost and made again keeps what it is working on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery
from fleet import Fleet

from omx_tasks.broker import audit
from omx_tasks.broker.transport import register
from omx_tasks.store.client import Store

Until = Callable[..., None]
LEASE = 3.0


@pytest.fixture
def app(cluster_url: str) -> Iterator[Celery]:
    register()
    app = Celery("outside", broker=cluster_url, backend=cluster_url, set_as_current=False)
    yield app
    app.backend.result_consumer.stop()
    app.backend.store.close()
    app.close()


@pytest.mark.parametrize("pool", ["custom", "threads", "prefork"])
def test_a_task_that_runs_while_the_connection_is_lost_runs_once(
    fleet: Fleet,
    app: Celery,
    store: Store,
    queue: str,
    tmp_path: Path,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    pool: str,
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
    options = ["-I", "agent_tasks", "-Q", queue, "--without-mingle", "--without-gossip"]
    if pool != "custom":
        options += ["-P", pool, "-c", "4"]
    agent = fleet.start(4, lease=LEASE, options=options)
    until(lambda: app.control.ping([agent.name], timeout=0.3))
    paths = [tmp_path / f"path{n}" for n in range(3)]
    gate = tmp_path / "gate"
    results = [
        app.send_task("agent_tasks.note_and_pass", (str(path), str(gate)), queue=queue)
        for path in paths
    ]
    until(lambda: all(path.exists() for path in paths))
    app.control.broadcast("lose_connection", destination=[agent.name])
    until(lambda: "connection is lost" in agent.log.read_text())
    until(lambda: app.control.ping([agent.name], timeout=0.3))
    other = app.send_task("agent_tasks.touch", (str(tmp_path / "other"),), queue=queue)
    other.get(timeout=60)  # it consumes again; longer than a lease passes before the gate opens
    until(lambda: app.control.ping([agent.name], timeout=LEASE) and True)
    gate.touch()
    assert [result.get(timeout=60) for result in results] == ["through"] * 3
    until(lambda: audit.reports(store, [queue])[0].stats.counters.get("acked") == 4)
    assert [path.read_text() for path in paths] == ["touched\n"] * 3
    report = audit.reports(store, [queue])[0]
    assert "returned" not in report.stats.counters
    assert (report.present, report.missing) == (0, 0)
