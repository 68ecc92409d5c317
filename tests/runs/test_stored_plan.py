"""The plan as a run keeps it."""

from __future__ import annotations

import pytest
from driven import operation
from hypothesis import given
from hypothesis import strategies as st

from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan
from omx_tasks.graph.stored import StoredPlan, item_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)


def test_reading_the_document_gives_the_plan_that_wrote_it() -> None:
    graph = Graph(
        name="g",
        operations=[
            operation("a", timeout=3, retries=0, priority="P0", requires=["review"]),
            operation("each", foreach="${a.structured}", on_failure="continue"),
            operation("b", arguments={"x": "${each[*].text}", "y": [1, {"z": "ü"}]}),
        ],
    )
    plan = StoredPlan.of(compile_plan(graph), {"folder": "."})
    assert StoredPlan.parse(plan.document()) == plan
    assert StoredPlan.parse(plan.document().encode()) == plan


@given(value=JSON)
def test_arguments_and_inputs_come_back_as_they_were(value: object) -> None:
    graph = Graph(name="g", operations=[operation("a")])
    plan = StoredPlan.of(compile_plan(graph), {"v": value})
    assert StoredPlan.parse(plan.document()).inputs == {"v": value}


@pytest.mark.parametrize(
    ("name", "parts"),
    [("each", ("each", None)), ("each[0]", ("each", 0)), ("e_1[12345]", ("e_1", 12345))],
)
def test_an_items_name_says_whose_it_is(name: str, parts: tuple[str, int | None]) -> None:
    assert item_of(name) == parts


def test_a_step_is_found_by_its_items(drive: object) -> None:
    graph = Graph(
        name="g", operations=[operation("a"), operation("each", foreach="${a.structured}")]
    )
    plan = StoredPlan.of(compile_plan(graph), {})
    assert plan.step("each[7]") is plan.step("each") is plan.steps["each"]


def test_an_item_does_not_need_what_its_list_was_made_from() -> None:
    each = operation("each", foreach="${a.structured}", arguments={"x": "${item} ${b.text}"})
    graph = Graph(name="g", operations=[operation("a"), operation("b"), each])
    step = StoredPlan.of(compile_plan(graph), {}).step("each")
    assert step.needed("each") == ("a",)
    assert step.needed("each[3]") == ("b",)
