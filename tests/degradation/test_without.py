"""What goes on while a part is away that no other test takes away; see ``rows.py`` for all parts."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery
from fleet import Fleet
from relay import HOST, Relay

from omx_tasks.api import Run, submit_graph
from omx_tasks.broker.transport import register
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.ports import reserved_ports
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.graph.model import Graph
from omx_tasks.store.client import Store

Until = Callable[..., None]


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    cluster = EmbeddedCluster(tmp_path_factory.mktemp("own") / "nodes")
    cluster.up(bound=True)
    yield cluster
    cluster.down(delete=True, timeout=2)


@pytest.fixture(scope="module")
def proxy(own_cluster: EmbeddedCluster) -> Iterator[Relay]:
    """What stands in front of the cluster; it is all that agents are told."""
    relay = Relay(own_cluster.status().nodes[0].port)
    yield relay
    relay.close()


@pytest.fixture(scope="module")
def behind(proxy: Relay, tmp_path_factory: pytest.TempPathFactory, until: Until) -> Iterator[Fleet]:
    """An agent and its caller who know the proxy's address only."""
    url = f"rediscluster://{HOST}:{proxy.port}"
    store = Store(url, timeout=20.0)
    fleet = Fleet(tmp_path_factory.mktemp("behind"), url, store, until)
    fleet.start()
    yield fleet
    fleet.stop()
    store.close()


@contextlib.contextmanager
def _program(words: list[str], url: str, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environ = {**os.environ, "OMX_BROKER_URL": url, "OMX_METRICS_PORT": str(port)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=environ, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _chain(fleet: Fleet, seconds: float, length: int) -> Graph:
    """Return a graph whose operations come one after the other."""
    calls = [
        fleet.call(f"o{n}", needs=[f"o{n - 1}"] if n else [], arguments={"seconds": seconds})
        for n in range(length)
    ]
    return Graph(name="chain", operations=calls)


@pytest.mark.parametrize("program", ["exporter", "flower"])
def test_runs_go_on_when_who_looks_on_is_killed(
    behind: Fleet, until: Until, tmp_path: Path, program: str
) -> None:
    path = {"exporter": "/readyz", "flower": "/healthcheck"}[program]
    with reserved_ports(1) as (port,):
        words = {
            "exporter": ["workers.exporter"],
            "flower": [
                "celery",
                "-A",
                "omx_tasks",
                "flower",
                f"--address={HOST}",
                f"--port={port}",
            ],
        }[program]
        with _program(words, behind.url, port, tmp_path / "log") as process:
            until(lambda: _answers(port, path), 60)
            run = submit_graph(behind.store, _chain(behind, 0.05, 10), {})
            process.kill()
            assert run.wait(60).succeeded
        assert not _answers(port, path)
    assert submit_graph(behind.store, _chain(behind, 0.0, 3), {}).wait(60).succeeded


def test_who_has_found_the_cluster_needs_the_proxy_no_more(
    behind: Fleet, own_cluster: EmbeddedCluster, proxy: Relay
) -> None:
    run = submit_graph(behind.store, _chain(behind, 0.1, 10), {})
    proxy.close()
    try:
        assert run.wait(60).succeeded
        newcomer = Store(behind.url, timeout=0.5)
        with pytest.raises(UnavailableError, match=re.escape(f"{HOST}:{proxy.port}")):
            newcomer.ping(0.5)
        node = own_cluster.status().nodes[1].port
        with contextlib.closing(Store(f"{behind.url},{HOST}:{node}", timeout=10.0)) as other:
            assert submit_graph(other, _chain(behind, 0.0, 2), {}).wait(60).succeeded
    finally:
        newcomer.close()


def test_runs_wait_for_the_whole_cluster_and_go_on_where_they_were(
    behind: Fleet, own_cluster: EmbeddedCluster
) -> None:
    run = submit_graph(behind.store, _chain(behind, 0.1, 20), {})
    for _ in zip(range(6), run.changes(30), strict=False):
        pass
    for node in own_cluster.status().nodes:
        os.kill(node.pid, signal.SIGKILL)
    with (
        contextlib.closing(Store(own_cluster.url(), timeout=0.5)) as hasty,
        pytest.raises(UnavailableError),
    ):
        submit_graph(hasty, _chain(behind, 0.0, 1), {})
    own_cluster.up(bound=True)
    assert run.wait(60).succeeded


def test_without_agents_runs_and_orders_wait_and_a_submission_must_say_that_it_may(
    behind: Fleet, own_cluster: EmbeddedCluster
) -> None:
    graph = _chain(behind, 0.0, 3)
    store = Store(own_cluster.url(), timeout=10.0)
    for agent in behind.agents:
        agent.stop()
    with pytest.raises(ConfigurationError, match=r"no agent is up on .*: start one"):
        submit_graph(store, graph, {})
    waiting = submit_graph(store, graph, {}, wait_for_agents=True)
    register()
    with Celery("producer", set_as_current=False) as app:
        app.conf.update(broker_url=own_cluster.url(), result_backend=own_cluster.url())
        order = app.send_task("omx.run", kwargs={"graph": graph.to_data()})
        assert waiting.status().state == "running"
        behind.url = own_cluster.url()
        behind.start()
        assert waiting.wait(60).succeeded
        assert Run(order.get(timeout=60), store).wait(60).succeeded
        app.backend.result_consumer.stop()
        app.backend.store.close()
    store.close()
