"""What is far too large is refused with its size and what is allowed."""

from pathlib import Path

import pytest

from omx_tasks.errors import GraphError
from omx_tasks.graph import limits, model, stored
from omx_tasks.graph.checks import check
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.graph.stored import StoredPlan


def test_a_file_that_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    with path.open("wb") as file:
        file.truncate(limits.MAX_BYTES + 1)
    with pytest.raises(GraphError) as caught:
        Graph.load(path)
    assert str(caught.value) == f"{path}: has 67,108,865 bytes; at most 67,108,864 are allowed"


def test_a_text_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_BYTES", 10)
    with pytest.raises(GraphError, match=r"^mine: has 11 bytes; at most 10 are allowed$"):
        Graph.parse("x" * 11, "mine")


def test_too_many_operations_are_refused_before_they_are_made() -> None:
    with pytest.raises(GraphError, match=r"operations must be at most 100,000, not 100,001; use a"):
        Graph(name="x", operations=[None] * 100_001)


def test_arguments_that_are_too_large_are_refused() -> None:
    large = Operation(id="a", server="s", tool="t", arguments={"text": "x" * limits.MAX_ARGUMENTS})
    with pytest.raises(GraphError, match=r"'a': its arguments have 1,048,588 bytes; at most 1,048"):
        check(Graph(name="x", operations=[large]))


def test_a_run_that_would_store_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = compile_plan(Graph(name="x", operations=[Operation(id="a", server="s", tool="t")]))
    monkeypatch.setattr(stored, "MAX_BYTES", 1000)
    assert len(StoredPlan.of(plan, {}).document()) < 500
    with pytest.raises(GraphError, match=r"graph 'x' and its inputs have [\d,]+ bytes; at most 1,"):
        StoredPlan.of(plan, {"text": "x" * 1000}).document()
