"""The project's compose file, run by a test's own engine, with a server that keeps a ledger beside the examples."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine import Engine, Until
from ledger import Ledger, compare

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
SOURCES = ("omx_tasks", "workers", "compose")
FILES = ("README.md", "pyproject.toml", ".dockerignore")
MINUTES = 300.0

#: What differs from how it is delivered: short leases, few slots, and a folder for the ledger.
OVERRIDE = """\
services:
  agent:
    environment: {{OMX_LEASE: "5", OMX_SLOTS: "8", OMX_SERVER_START_TIMEOUT: "120"}}
    volumes: ["{book}:/book"]
  coordinator:
    environment: {{OMX_LEASE: "5"}}
"""
SERVERS = {
    "time": {"command": "python", "args": ["-m", "mcp_server_time"]},
    "notes": {"command": "python", "args": ["-m", "omx_tasks.examples.notes"]},
    "ledger": {
        "command": "python",
        "args": ["/book/server.py", "/book/done"],
        "omx": {"resource": "key"},
    },
}


class Stack:
    """The project's folder, copied, and what runs of it in containers."""

    def __init__(self, folder: Path, engine: Engine, until: Until) -> None:
        self.folder = folder
        self.engine = engine
        self.until = until
        self.book = folder / "book"
        for name in SOURCES:
            ignored = shutil.ignore_patterns("__pycache__", "secrets", ".env", "wheels")
            shutil.copytree(PROJECT / name, folder / name, ignore=ignored)
        for name in FILES:
            shutil.copy(PROJECT / name, folder / name)
        self._write_test_files()

    def _write_test_files(self) -> None:
        self.book.mkdir()
        self.book.chmod(0o777)  # the containers' user writes to it
        shutil.copy(PROJECT / "tests" / "agents" / "servers" / "ledger.py", self.book / "server.py")
        (self.compose_folder / "servers.json").write_text(json.dumps({"mcpServers": SERVERS}))
        (self.compose_folder / "test.yaml").write_text(OVERRIDE.format(book=self.book))

    @property
    def compose_folder(self) -> Path:
        return self.folder / "compose"

    def build(self) -> None:
        """Build the image without a network, from the wheels in ``compose/wheels``."""
        self.engine.run(
            "build", "--quiet", "-f", str(self.compose_folder / "Dockerfile"), "-t", "omx-tasks",
            "--build-arg", "PIP_NO_INDEX=1", "--network", "none", str(self.folder),
            seconds=MINUTES,
        )  # fmt: skip

    def make_secrets(self) -> None:
        subprocess.run([self.compose_folder / "secrets.sh"], check=True, capture_output=True)
        with (self.compose_folder / ".env").open("a") as env:
            env.write("MCP_CONFIG=./servers.json\n")

    def compose(self, *words: str, given: str | None = None) -> str:
        """Run ``docker compose WORDS``."""
        ours, tests = self.compose_folder / "compose.yaml", self.compose_folder / "test.yaml"
        files = ["-f", str(ours), "-f", str(tests)]
        return self.engine.run("compose", *files, *words, seconds=MINUTES, given=given)

    def up(self, agents: int, *services: str) -> None:
        """Bring up what is not, with so many agents, and wait until these are warm."""
        self.compose("up", "-d", "--no-build", "--scale", f"agent={agents}", *services)
        self.until(lambda: len(self.agents()) == agents, MINUTES)

    def agents(self) -> list[dict[str, Any]]:
        """Return what ``omx agents`` says outside of the containers of those that can call the ledger."""
        done = self.client("-m", "omx_tasks.cli.main", "agents", "--json")
        out, _ = done.communicate(timeout=MINUTES)  # until the cluster is formed, an error
        found = json.loads(out) if done.returncode == 0 else []
        return [agent for agent in found if "ledger" in agent["servers"]]

    def client(self, *words: str) -> subprocess.Popen[bytes]:
        """Start Python in the engine's network, as a client on this machine."""
        given = (self.compose_folder / "host.env").read_text().splitlines()
        pairs = [line.partition("=")[::2] for line in given if not line.startswith("#")]
        environ = {name: value.strip("'") for name, value in pairs}
        path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            self.engine.inside(sys.executable, *words),
            env={**self.engine.environ, **environ, "PYTHONPATH": path},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def status(self, url: str, user: str) -> int:
        """Return the status with which a page is answered on this machine."""
        script = (
            "import sys, base64, urllib.request as u, urllib.error as e\n"
            "r = u.Request(sys.argv[1])\n"
            "r.add_header('Authorization', 'Basic ' + base64.b64encode(sys.argv[2].encode()).decode())\n"
            "try: print(u.urlopen(r, timeout=30).status)\n"
            "except e.HTTPError as error: print(error.code)\n"
        )
        out, _ = self.client("-c", script, url, user).communicate(timeout=MINUTES)
        return int(out)

    @contextmanager
    def load(self) -> Iterator[Ledger]:
        """Run graphs for as long as this lasts; the ledger is filled when all of them have ended."""
        told, ledger = self.folder / "asked", Ledger()
        producer = self.client(str(HERE / "outside.py"), str(told))
        try:
            yield ledger
            producer.send_signal(signal.SIGTERM)
            _, said = producer.communicate(timeout=MINUTES)
            assert producer.returncode == 0, said.decode()
        finally:
            producer.kill()
            producer.wait()
        found = compare(json.loads(told.read_text()), self.done())
        vars(ledger).update(vars(found))

    def done(self) -> Counter[str]:
        """Count what the server wrote down: ``TOOL KEY`` → how often."""
        file = self.book / "done"
        return Counter(file.read_text().splitlines() if file.exists() else ())

    def moves(self, count: int) -> None:
        """Wait until so many calls more were made."""
        before = self.done().total()
        self.until(lambda: self.done().total() >= before + count, MINUTES)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers that run."""
        return self.compose("ps", "--quiet", service).split()
