"""A producer has no server of its own: what the agents published is what a graph is checked against."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from fleet import Fleet

from omx_tasks.agents.registry import catalogue
from omx_tasks.api import submit_graph
from omx_tasks.errors import ConfigurationError, GraphError
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.store import keys
from omx_tasks.store.client import Store


def _notes(**fields: object) -> Operation:
    return Operation(**{"id": "a", "server": "notes", "tool": "read_note", **fields})


def test_the_catalogue_has_schemas_annotations_protocol_and_the_cold_time(
    shared: Fleet, store: Store
) -> None:
    offered = catalogue(store)["notes"]
    assert offered["protocol"] >= "2025"
    assert 0 < offered["cold_seconds"] < 30
    tools = {tool["name"]: tool for tool in offered["tools"]}
    assert tools["read_note"]["annotations"]["readOnlyHint"] is True
    assert tools["read_note"]["inputSchema"]["required"] == ["name"]
    assert tools["list_notes"]["outputSchema"]["properties"]["notes"]["type"] == "array"


MISTAKES = [
    ({"server": "nots"}, "unknown server 'nots'. Did you mean 'notes'?"),
    ({"tool": "read_nite"}, "server 'notes' has no tool 'read_nite'. Did you mean 'read_note'?"),
    ({"arguments": {}}, "tool 'read_note' requires the argument 'name'; add it"),
    ({"arguments": {"name": 3}}, "argument 'name' of tool 'read_note' must be string, not 3"),
    ({"requires": ["server:tme"]}, "requires the unknown server 'tme'. Did you mean 'time'?"),
]


@pytest.mark.parametrize(("fields", "problem"), MISTAKES, ids=[problem for _, problem in MISTAKES])
def test_a_mistake_is_found_before_anything_is_queued(
    shared: Fleet, store: Store, fields: dict[str, object], problem: str
) -> None:
    before = store.command(keys.runs(), "ZCARD", keys.runs())
    graph = Graph(name="wrong", operations=[_notes(**{"arguments": {"name": "x"}, **fields})])
    with pytest.raises(GraphError) as caught:
        submit_graph(store, graph, {})
    assert problem in str(caught.value)
    assert store.command(keys.runs(), "ZCARD", keys.runs()) == before


def test_a_reference_is_held_against_the_output_schema_that_was_published(
    shared: Fleet, store: Store
) -> None:
    listing = Operation(id="list", server="notes", tool="list_notes")
    reading = _notes(arguments={"name": "${list.structured.nots[0].name}"})
    with pytest.raises(GraphError, match=r"there is no field 'nots' in list.structured. Did you"):
        submit_graph(store, Graph(name="wrong", operations=[listing, reading]), {})


def test_servers_that_no_agent_has_together_are_told(shared: Fleet, fleet: Fleet) -> None:
    fleet.start()
    both = shared.call("a", requires=[f"server:{fleet.ledger}"])
    with pytest.raises(ConfigurationError, match="no agent that is up has all of the servers"):
        submit_graph(fleet.store, Graph(name="wrong", operations=[both]), {})


@pytest.mark.parametrize("command", ["check", "plan"])
def test_the_command_line_tells_all_problems_at_once(
    shared: Fleet, tmp_path: Path, command: str
) -> None:
    wrong = [_notes(arguments={"nam": "x"}), _notes(id="b", needs=["zzz"], arguments={"name": "x"})]
    done = _omx(shared, tmp_path, command, Graph(name=uuid.uuid4().hex, operations=wrong))
    assert done.returncode == 2, done
    assert "requires the argument 'name'" in done.stderr
    assert "needs 'zzz', which is no operation of this graph" in done.stderr


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_the_command_line_uses_it_too(shared: Fleet, tmp_path: Path, command: str) -> None:
    graph = Graph(name=uuid.uuid4().hex, operations=[_notes(arguments={"nam": "x"})])
    done = _omx(shared, tmp_path, command, graph)
    assert done.returncode == 2, done
    assert "requires the argument 'name'" in done.stderr


def _omx(
    shared: Fleet, tmp_path: Path, command: str, graph: Graph
) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(graph.to_data()))
    return subprocess.run(
        [sys.executable, "-c", "from omx_tasks.cli.main import main; main()", command, str(path)],
        env={**os.environ, "OMX_BROKER_URL": shared.url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
