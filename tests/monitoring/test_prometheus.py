"""What is delivered for Prometheus and Grafana, on a system under load: panels have data, faults are told.

Thresholds and waits are shorter here than delivered; those are in ``alerts_test.yml``.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watched import COMPOSE, Load, Watched

from omx_tasks.agents.registry import agents
from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.coordination.coordinator import Coordinator
from omx_tasks.coordination.duties import Duty
from omx_tasks.coordination.leader import Term
from omx_tasks.errors import UnavailableError
from omx_tasks.events.bus import Bus
from omx_tasks.events.handlers import Handler
from omx_tasks.events.processor import Processor
from omx_tasks.events.types import Event
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script

Until = Callable[..., None]
pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="there is no Prometheus on this machine (Debian's package `prometheus` brings it)",
)
ALERTS = {
    line.split()[-1]
    for line in (COMPOSE / "alerts.yml").read_text().splitlines()
    if line.lstrip().startswith("- alert:")
}


def promtool(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *words], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_configuration_and_rules_are_valid_and_mistakes_in_them_are_caught(tmp_path: Path) -> None:
    for file in ("prometheus.yml", "alerts.yml"):
        shutil.copy(COMPOSE / file, tmp_path)
    shutil.copy(Path(__file__).with_name("alerts_test.yml"), tmp_path)
    checks = {
        "prometheus.yml": ("check", "config"),
        "alerts.yml": ("check", "rules"),
        "alerts_test.yml": ("test", "rules"),
    }
    for file, words in checks.items():
        done = promtool(*words, file, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    mistakes = (
        ("prometheus.yml", "prometheus.yml", "scrape_interval: 10s", "scrape_interval: soon"),
        ("alerts.yml", "alerts.yml", "sum by (queue) (", "sum by queue (("),
        ("alerts_test.yml", "alerts.yml", "omx_cluster_up == 0", "omx_cluster_up == 1"),
        ("alerts_test.yml", "alerts.yml", "for: 30s", "for: 0s"),
        ("alerts_test.yml", "alerts.yml", "and on(queue) omx_queue_consumers == 0", ""),
        ("alerts_test.yml", "alerts.yml", "omx_actual > on(figure)", "omx_actual < on(figure)"),
    )
    for check, file, right, wrong in mistakes:
        text = (tmp_path / file).read_text()
        assert right in text
        (tmp_path / file).write_text(text.replace(right, wrong))
        assert promtool(*checks[check], check, folder=tmp_path).returncode != 0, wrong
        (tmp_path / file).write_text(text)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    cluster = EmbeddedCluster(folder / "nodes", node_timeout_ms=1000)
    cluster.up(bound=True)
    store = Store(cluster.url(), timeout=10.0)
    watched = Watched(folder, cluster, store)
    try:
        watched.start_all()
        yield watched
    finally:
        watched.stop()
        store.close()
        cluster.down(delete=True, timeout=5)


def _has_data(watched: Watched, expression: str) -> bool:
    found = watched.query(expression.replace("$__rate_interval", "10s"))
    return any(not math.isnan(float(one["value"][1])) for one in found)


@pytest.mark.timeout(240)
def test_every_panel_has_data_under_load(watched: Watched, until: Until) -> None:
    wanting = {
        (board["title"], panel["title"], target["expr"])
        for file in (COMPOSE / "grafana" / "dashboards").glob("*.json")
        for board in [json.loads(file.read_text())]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    assert len(wanting) > 40
    until(lambda: agents(watched.store))

    def all_have() -> bool:
        for one in sorted(wanting):
            if _has_data(watched, one[2]):
                wanting.discard(one)
        return not wanting

    with Load(watched.store):
        try:
            until(all_have, 100)
        except AssertionError:
            pytest.fail(f"no data: {sorted(wanting)}")


def _park_a_message(store: Store, queue: str) -> None:
    """Have one message die of its deliveries, and let an urgent one wait where nobody consumes."""
    listed = keys.queue_names()
    store.run(queues.declare(queue))
    store.command(listed, "SADD", listed, queue)
    store.run(queues.publish(queue, [Posting("dies", "body", priority=0)]))
    store.run(queues.claim(queue, "first", most=1, lease=1))
    time.sleep(0.002)  # the lease ends
    store.run(queues.claim(queue, "second", most=1, lease=1, deliveries=1))
    store.run(queues.publish(queue, [Posting("waits", "body", priority=0)]))


def _fail(_event: Event) -> None:
    raise ValueError("no")


def _never_succeeds(_term: Term) -> None:
    raise UnavailableError("no")


def _say_that_one_is_silent(store: Store) -> None:
    """Beat as an agent does that lives, and of which a queue has not answered for a minute."""
    (agent,) = [one for one in agents(store) if one.name.startswith("agent@")]
    about = {"host": "here", "pid": 1, "slots": 1, "busy": 0, "done": 0, "servers": []}
    record = {**about, "failed": {}, "config": agent.config, "silence": 61.0}
    names = (keys.agents(), keys.catalogue(), keys.capability_sets())
    store.run(Call(script("heartbeat_1"), names, ("silent@here", json.dumps(record))))


@pytest.mark.timeout(300)
def test_every_alert_fires_of_its_fault(watched: Watched, until: Until) -> None:
    store, fired = watched.store, set[str]()

    def fires(*names: str) -> None:
        def all_fire() -> bool:
            fired.update(watched.firing())
            return set(names) <= fired

        try:
            until(all_fire, 60)
        except AssertionError:
            pytest.fail(f"does not fire: {set(names) - fired}; {sorted(watched.firing())} do")

    until(lambda: agents(store))
    # What nobody is there for yet fires, as does what one scrape was too late to see.
    until(lambda: not {"OmxNoLeader", "OmxNoAgents", "OmxClusterDown"} & watched.firing())
    bus = Bus(lambda: Store(watched.cluster.url()))
    failing = Processor(store, [Handler("of.test", _fail, ("t.bad",), deliveries=1, backoff=0.01)])
    failing.start()
    bus.publish("t.bad", {})
    with Load(store):
        _park_a_message(store, "orphan")
        _say_that_one_is_silent(store)
        fires("OmxDeadMessages", "OmxNobodyConsumes", "OmxBacklog", "OmxUrgentWaits")
        fires("OmxEventsDead", "OmxServerUnwell", "OmxTargetMissed", "OmxAgentSilent")
        watched.end("coordinator")
        fires("OmxNoLeader", "OmxEventsBehind")
    bus.close()
    failing.stop()
    coordinator = Coordinator(
        lambda: Store(watched.cluster.url()), [Duty("broken", 0.01, _never_succeeds)]
    ).start()
    fires("OmxDutyFails")
    coordinator.stop()
    watched.end("agent")
    fires("OmxNoAgents")
    _kill_a_shard(watched, fires)
    for node in watched.cluster.status().nodes:
        if node.alive and node.pid is not None:
            os.kill(node.pid, signal.SIGKILL)
    fires("OmxClusterDown")
    watched.end("exporter")
    fires("OmxExporterDown")
    assert fired == ALERTS


def _kill_a_shard(watched: Watched, fires: Callable[..., None]) -> None:
    """Kill a replica, and then its master, which has no heir."""
    nodes = watched.cluster.status().nodes
    replica = next(node for node in nodes if node.master is not None)
    master = next(node for node in nodes if node.id == replica.master)
    for node, alert in ((replica, "OmxShardWithoutReplica"), (master, "OmxMasterDown")):
        assert node.pid is not None
        os.kill(node.pid, signal.SIGKILL)
        fires(alert)
