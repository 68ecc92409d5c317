"""Submitting large graphs, measured in the smallest form: every figure is there, and messages stay as small."""

from __future__ import annotations

from omx_tasks.bench.submit import SHAPES, measure
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan


def test_each_shape_is_a_sound_graph_of_the_size_asked_for() -> None:
    for shape, make in SHAPES.items():
        plan = compile_plan(Graph.from_data({"name": shape, "operations": make(300)}))
        assert len(plan.steps) == 300
    assert [len(make(300)) for make in SHAPES.values()] == [300, 300, 300]


def test_every_shape_is_submitted_and_measured() -> None:
    found = measure((10, 1000), 1, lambda _: None)
    assert list(found) == [f"{shape} {size}" for size in (10, 1000) for shape in SHAPES]
    for sample in found.values():
        assert min(sample.start, sample.load, sample.submit) > 0
        assert sample.memory > 10
    for shape in SHAPES:
        small, large = found[f"{shape} 10"], found[f"{shape} 1000"]
        assert large.document > 50 * small.document
        assert large.message - small.message < 50
