"""A process says over HTTP that it is there, and whether it can be given work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from omx_tasks.agents.registry import agents
from omx_tasks.api import submit_graph
from omx_tasks.cluster.ports import free_or_other
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.store.client import Store

Until = Callable[..., None]
Start = Callable[..., tuple[subprocess.Popen[bytes], str]]


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode().strip()
    except OSError:
        return 0, ""


@pytest.fixture
def start(cluster_url: str, tmp_path: Path) -> Iterator[Start]:
    servers = {"sleeper": {"command": sys.executable, "args": ["-m", "omx_tasks.bench.sleeper"]}}
    (tmp_path / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))
    started = []

    def start(*words: str, port: int | None = None) -> tuple[subprocess.Popen[bytes], str]:
        port = free_or_other(0) if port is None else port
        environ = {**os.environ, "OMX_BROKER_URL": cluster_url, "OMX_HEALTH_PORT": str(port)}
        command = [sys.executable, "-m", *words]
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=log, stderr=log)
        started.append(process)
        return process, f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        process.kill()
        process.wait(60)


def test_an_agent_is_ready_once_it_is_warm_and_until_it_is_told_to_stop(
    start: Start, store: Store, until: Until
) -> None:
    agent, url = start("workers.agent", "--name", "probed@here")
    until(lambda: ask(f"{url}/healthz") == (200, "ok"))
    said: set[tuple[int, str]] = set()

    def is_ready() -> bool:
        said.add(ask(f"{url}/readyz"))
        return (200, "ready") in said

    until(is_ready)
    assert said <= {(200, "ready"), (503, "it does not consume yet")}
    nap = Operation(id="nap", server="sleeper", tool="sleep", arguments={"seconds": 1.0})
    submit_graph(store, Graph(name="napping", operations=[nap]), {})
    until(lambda: any(one.name == "probed@here" and one.busy for one in agents(store)))
    agent.terminate()
    until(lambda: ask(f"{url}/readyz") == (503, "it is stopping: what is under way ends first"))
    assert ask(f"{url}/healthz") == (200, "ok")
    assert agent.wait(60) == 0


def test_a_coordinator_is_ready_when_the_cluster_has_answered(start: Start, until: Until) -> None:
    coordinator, url = start("workers.coordinator")
    until(lambda: ask(f"{url}/readyz") == (200, "ready"))
    assert ask(f"{url}/metrics") == (200, "")
    coordinator.terminate()
    assert coordinator.wait(60) == 0


@pytest.mark.parametrize("program", ["workers.agent", "workers.coordinator"])
def test_a_port_that_is_taken_is_a_mistake_that_is_named(
    start: Start, program: str, cluster_url: str, tmp_path: Path
) -> None:
    port = int(cluster_url.rpartition(":")[2].partition("/")[0])
    process, _ = start(program, port=port)
    assert process.wait(60) == 2
    said = (tmp_path / "log").read_text()
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "OMX_HEALTH_PORT" in said
