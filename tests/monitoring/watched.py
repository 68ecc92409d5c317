"""A small system under a real Prometheus that looks four times a second, with the rules that are delivered."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from omx_tasks.api import Run, submit_graph
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.ports import reserved_ports
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store

COMPOSE = Path(__file__).parents[2] / "compose"
CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 250ms}}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: omx
    scrape_interval: 1500ms
    scrape_timeout: 1500ms
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
#: Seconds above which an age is an alert, and what they are here.
SHORTER = {"> 60": "> 1", "> 5\n": "> 0.5\n"}


@dataclass
class Watched:
    """Its processes by name; `start` and `end` them."""

    folder: Path
    cluster: EmbeddedCluster
    store: Store
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _reserved: ExitStack = field(default_factory=ExitStack)

    def start_all(self) -> None:
        self._port, self._exporter = self._reserved.enter_context(reserved_ports(2))
        sleeper = {"command": sys.executable, "args": ["-m", "omx_tasks.bench.sleeper"]}
        broken = {"command": sys.executable, "args": ["-c", "raise SystemExit('no licence')"]}
        servers = {"mcpServers": {"sleeper": sleeper, "broken": broken}}
        (self.folder / "mcp.json").write_text(json.dumps(servers))
        (self.folder / "prometheus.yml").write_text(CONFIG.format(port=self._exporter))
        rules = re.sub(r"for: \S+", "for: 0s", (COMPOSE / "alerts.yml").read_text())
        for delivered, here in SHORTER.items():
            rules = rules.replace(delivered, here)
        (self.folder / "alerts.yml").write_text(rules)
        for name in ("agent", "coordinator", "exporter"):
            self.start(name, sys.executable, "-m", f"workers.{name}")
        listen = f"--web.listen-address=127.0.0.1:{self._port}"
        files = ("--config.file=prometheus.yml", "--storage.tsdb.path=data")
        self.start("prometheus", "prometheus", *files, listen, "--log.level=warn")

    def start(self, name: str, *command: str) -> None:
        ours = {
            "OMX_BROKER_URL": self.cluster.url(),
            "OMX_MCP_CONFIG": str(self.folder / "mcp.json"),
            "OMX_METRICS_PORT": str(self._exporter),
            # Where a node is down, the exporter tries no longer than it may take.
            **({"OMX_REQUEST_TIMEOUT": "0.5"} if name == "exporter" else {}),
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=self.folder, env={**os.environ, **ours}, stdout=log, stderr=log
            )

    def end(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)

    def stop(self) -> None:
        for name in list(self.processes):
            self.end(name)
        self._reserved.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what Prometheus answers: each with ``metric`` and ``value``."""
        return self._ask("query", query=expression)["result"]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        alerts = self._ask("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def _ask(self, what: str, **words: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._port}/api/v1/{what}?{urllib.parse.urlencode(words)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                data: dict[str, Any] = json.load(answer)["data"]
                return data
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{words}: {error.read().decode()}") from None
        except OSError:  # it does not listen yet
            return {"result": [], "alerts": []}


class Load:
    """Submits a run after the other, of operations of all priorities, one of which fails."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.submitted: list[Run] = []

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)

    def _run(self) -> None:
        for number in count():
            operations = [
                Operation(
                    id=f"nap_{priority.name}",
                    server="sleeper",
                    tool="sleep",
                    arguments={"seconds": 0.05, "task": f"{number} {priority.name}"},
                    priority=priority,
                )
                for priority in Priority
            ]
            wrong = Operation(
                id="wrong",
                server="sleeper",
                tool="sleep",
                arguments={"seconds": "${nap_P1.text}"},
                on_failure="continue",
            )
            graph = Graph(name="load", operations=[*operations, wrong])
            self.submitted.append(submit_graph(self._store, graph, {}))
            if self._stopping.wait(0.2):
                return
