"""A process says over HTTP that it is there, and whether it can be given work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from omx_tasks.agents.registry import agents
from omx_tasks.api import submit_graph
from omx_tasks.cluster.ports import reserved_ports
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.store.client import Store

LEDGER = Path(__file__).parents[1] / "agents" / "servers" / "ledger.py"
#: What is told of one that did not answer.
UNHEARD = (0, "")

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
        return UNHEARD


@pytest.fixture
def start(cluster_url: str, tmp_path: Path) -> Iterator[Start]:
    servers = {"gated": {"command": sys.executable, "args": [str(LEDGER), str(tmp_path / "calls")]}}
    (tmp_path / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))
    started, reserved = [], ExitStack()

    def start(*words: str, port: int | None = None) -> tuple[subprocess.Popen[bytes], str]:
        if port is None:
            (port,) = reserved.enter_context(reserved_ports(1))
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
    reserved.close()


def test_an_agent_is_ready_once_it_is_warm_and_until_it_is_told_to_stop(
    start: Start, store: Store, until: Until, tmp_path: Path
) -> None:
    agent, url = start("workers.agent", "--name", "probed@here")
    until(lambda: ask(f"{url}/healthz") == (200, "ok"))
    said: set[tuple[int, str]] = set()

    def is_ready() -> bool:
        said.add(ask(f"{url}/readyz"))
        return (200, "ready") in said

    until(is_ready)
    assert said <= {(200, "ready"), (503, "it does not consume yet"), UNHEARD}
    gate = tmp_path / "gate"
    waits = Operation(id="waits", server="gated", tool="read", arguments={"gate": str(gate)})
    submit_graph(store, Graph(name="waiting", operations=[waits]), {})
    until(lambda: any(one.name == "probed@here" and one.busy for one in agents(store)))
    agent.terminate()
    until(lambda: ask(f"{url}/readyz") == (503, "it is stopping: what is under way ends first"))
    until(lambda: ask(f"{url}/healthz") == (200, "ok"))
    gate.touch()
    assert agent.wait(60) == 0


def test_a_coordinator_is_ready_when_the_cluster_has_answered(start: Start, until: Until) -> None:
    coordinator, url = start("workers.coordinator")
    until(lambda: ask(f"{url}/readyz") == (200, "ready"))
    until(lambda: ask(f"{url}/metrics") == (200, ""))
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
