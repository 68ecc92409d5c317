"""The official npm memory server, which reads and writes one file for each call: no write is lost.

The same thirty calls at once, without turns, leave one entity in the file.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet import Fleet

from omx_tasks.graph.model import Operation
from omx_tasks.store.client import Store

PACKAGE = "@modelcontextprotocol/server-memory@2026.8.31"
INSTALL = 240.0


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the server for this session."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: the official memory server cannot be had")
    prefix = tmp_path_factory.mktemp("npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(prefix), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL, check=False)
    if done.returncode:
        pytest.skip(f"{PACKAGE} could not be installed: {done.stderr.strip()[-300:]}")
    return prefix / "node_modules" / ".bin" / "mcp-server-memory"


class Memory:
    """The server under a name of its own, with one file for all agents."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.name = f"memory_{uuid.uuid4().hex[:8]}"
        self.program, self.file = program, folder / "memory.jsonl"

    def servers(self) -> dict[str, object]:
        environ = {"MEMORY_FILE_PATH": str(self.file)}
        return {self.name: {"command": str(self.program), "env": environ}}

    def create(self, name: str) -> Operation:
        entity = {"name": name, "entityType": "thing", "observations": [f"{name} was seen"]}
        return Operation(
            id=name,
            server=self.name,
            tool="create_entities",
            arguments={"entities": [entity]},
        )

    def stored(self) -> set[str]:
        return {json.loads(line)["name"] for line in self.file.read_text().splitlines()}


@pytest.fixture
def memory(program: Path, tmp_path: Path) -> Memory:
    return Memory(program, tmp_path)


@pytest.fixture
def fleet(
    cluster_url: str, store: Store, tmp_path: Path, memory: Memory, until: Callable[..., None]
) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, cluster_url, store, until, memory.servers())
    yield fleet
    fleet.stop()


def test_thirty_entities_that_are_created_at_once_are_stored(fleet: Fleet, memory: Memory) -> None:
    fleet.start(slots=32)
    names = [f"e{n}" for n in range(30)]
    view = fleet.run(*map(memory.create, names))
    assert view.state == "succeeded"
    assert memory.stored() == set(names)


def test_three_runs_through_two_agents_with_a_server_each_lose_nothing(
    fleet: Fleet, memory: Memory
) -> None:
    for _ in range(2):
        fleet.start(slots=32)
    names = [[f"r{run}e{n}" for n in range(30)] for run in range(3)]
    runs = [fleet.submit(*map(memory.create, of_run)) for of_run in names]
    views = [run.wait(60) for run in runs]
    assert [view.state for view in views] == ["succeeded"] * 3
    assert memory.stored() == {name for of_run in names for name in of_run}
    used = {one.agent for view in views for one in view.operations.values()}  # type: ignore[union-attr]
    assert len(used) == 2
