"""Recorded workflows as graphs: scaled, and in three orders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omx_tasks.bench.graphs import RECORDED
from omx_tasks.bench.workflows import Workflow, read_folder
from omx_tasks.errors import ConfigurationError
from omx_tasks.graph.plan import compile_plan

SECONDS = {"a": 4.0, "b": 1.0, "c": 1.0, "d": 2.0, "e": 0.0}
NEEDS = {"a": (), "b": (), "c": ("b",), "d": ("b", "c"), "e": ("a", "d")}
WORKFLOW = Workflow("w", SECONDS, NEEDS)


def test_the_recorded_workflows_are_all_read():
    found = read_folder(RECORDED)
    assert {workflow.name: len(workflow.seconds) for workflow in found} == {
        "bacass-dirt02-001": 11,
        "blast-chameleon-small-005": 43,
        "epigenomics-chameleon-hep-1seq-100k-001": 41,
        "methylseq-dirt02-001": 36,
        "montage-chameleon-2mass-005d-001": 58,
        "srasearch-chameleon-10a-001": 22,
    }


@pytest.mark.parametrize("workflow", read_folder(RECORDED), ids=lambda workflow: workflow.name)
def test_a_scaled_workflow_has_the_ideal_that_was_asked_for(workflow):
    assert workflow.scaled(10.0, 8).ideal(8) == pytest.approx(10.0, rel=1e-4)


def test_a_task_sleeps_for_its_seconds_after_its_needs():
    operations = {operation.id: operation for operation in WORKFLOW.graph().operations}
    assert {name: one.arguments["seconds"] for name, one in operations.items()} == SECONDS
    assert {name: one.needs for name, one in operations.items()} == NEEDS


def test_the_longest_path_ranks_highest_and_first_in_ranks_nothing():
    ranks = {name: step.rank for name, step in compile_plan(WORKFLOW.graph()).steps.items()}
    assert ranks == {"a": 4.0, "b": 4.0, "c": 3.0, "d": 2.0, "e": 0.0}
    first_in = compile_plan(WORKFLOW.first_in())
    assert {step.rank for step in first_in.steps.values()} == {0.0}
    assert {name: step.needs for name, step in first_in.steps.items()} == NEEDS


def test_by_level_everything_waits_for_the_whole_level_before():
    assert WORKFLOW.levels() == [("a", "b"), ("c",), ("d",), ("e",)]
    needs = {operation.id: operation.needs for operation in WORKFLOW.by_level().operations}
    assert needs == {"a": (), "b": (), "c": ("a", "b"), "d": ("c",), "e": ("d",)}


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        '{"name": "x"}',
        '{"name": "x", "tasks": [{"id": "a", "seconds": "long", "needs": []}]}',
        json.dumps({"name": "x", "tasks": [{"id": "a", "seconds": 1, "needs": ["b"]}]}),
        json.dumps({"name": "x", "tasks": [{"id": "a", "seconds": 1, "needs": ["a"]}]}),
        json.dumps({"name": "x", "tasks": [{"id": "a", "seconds": 0, "needs": []}]}),
        json.dumps({"name": "x", "tasks": [{"id": "a", "seconds": -1, "needs": []}]}),
    ],
)
def test_a_file_that_is_no_workflow_is_named(tmp_path: Path, text: str):
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"odd\.json"):
        read_folder(tmp_path)


def test_a_folder_without_workflows_is_named(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no recorded workflow"):
        read_folder(tmp_path)
    with pytest.raises(ConfigurationError, match="no folder"):
        read_folder(tmp_path / "nowhere")
