import pytest
from hypothesis import given
from hypothesis import strategies as st

from omx_tasks.errors import GraphError
from omx_tasks.graph.durations import DEFAULT_SECONDS, Durations
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan


def graph(**needs):
    operations = [Operation(id=n, server="s", tool="t", needs=needs[n]) for n in needs]
    return Graph(name="x", operations=operations)


@st.composite
def random_graphs(draw):
    """A random graph without cycles, its operations in any order, with durations."""
    count = draw(st.integers(1, 9))
    needs = {
        f"o{n}": draw(st.lists(st.sampled_from([f"o{m}" for m in range(n)]), unique=True))
        if n else []
        for n in range(count)
    }  # fmt: skip
    shuffled = draw(st.permutations(sorted(needs)))
    seconds = {n: draw(st.integers(0, 5)) for n in needs}
    return graph(**{n: needs[n] for n in shuffled}), needs, seconds


def all_paths(needs, name):
    """Every path from ``name`` to an end, found by brute force."""
    successors = [other for other in needs if name in needs[other]]
    return [[name, *path] for s in successors for path in all_paths(needs, s)] or [[name]]


@given(random_graphs())
def test_a_plan_agrees_with_brute_force_on_any_graph(case):
    written, needs, seconds = case
    plan = compile_plan(written, Durations(seconds))
    in_file = [operation.id for operation in written.operations]
    assert sorted(plan.steps) == sorted(needs)
    order = list(plan.steps)
    for name, step in plan.steps.items():
        assert step.needs == tuple(n for n in in_file if n in needs[name])
        assert step.successors == tuple(n for n in in_file if name in needs[n])
        assert all(order.index(need) < order.index(name) for need in step.needs)
        assert step.rank == max(sum(seconds[n] for n in p) for p in all_paths(needs, name))
    assert set(plan.roots) == {n for n in needs if not needs[n]}
    assert set(plan.joins) == {n for n in needs if len(needs[n]) > 1}


@given(random_graphs())
def test_each_operation_is_released_exactly_once_and_by_exactly_its_needs(case):
    written, needs, _ = case
    releases = compile_plan(written).releases
    released = [name for names in releases.values() for name in names]
    assert sorted(released) == sorted(needs)
    for by, names in releases.items():
        assert all(set(needs[name]) == set(by) for name in names)


def test_references_in_arguments_foreach_and_uri_are_needs_beside_the_named_ones():
    written = Graph(
        name="x",
        inputs={"i": {"default": 1}},
        operations=[
            Operation(id="d", server="s", tool="t"),
            Operation(id="c", server="s", tool="t"),
            Operation(id="b", server="s", resource="r:${d.text}/${inputs.i}"),
            Operation(
                id="a",
                server="s",
                tool="t",
                needs=["b", "c"],
                foreach="${d.structured.x}",
                arguments={"x": ["${c.text} ${item} ${index}"]},
                requires=["writing"],
            ),
        ],
    )
    plan = compile_plan(written)
    assert plan.steps["b"].needs == plan.steps["b"].references == ("d",)
    assert plan.steps["a"].needs == ("d", "c", "b")
    assert plan.steps["a"].references == ("d", "c")
    assert plan.steps["a"].capabilities == ("server:s", "writing")
    assert plan.steps["a"].operation is written.operations[3]
    assert plan.steps["d"].successors == ("b", "a")


def test_the_seconds_are_expected_else_learned_else_a_default():
    written = Graph(
        name="x",
        operations=[
            Operation(id="a", server="s", tool="t", expect=0),
            Operation(id="b", server="s", tool="t", needs=["a"], expect=5),
            Operation(id="c", server="s", tool="t", needs=["a"]),
            Operation(id="d", server="s", tool="t", needs=["c"]),
            Operation(id="e", server="s", resource="r", needs=["d"]),
        ],
    )
    measured = Durations({"a": 100, "b": 100, "c": 7}, {"s tool t": 3})
    steps = compile_plan(written, measured).steps
    assert {n: (step.seconds, step.source) for n, step in steps.items()} == {
        "a": (0, "expect"),
        "b": (5, "expect"),
        "c": (7, "graph"),
        "d": (3, "call"),
        "e": (DEFAULT_SECONDS, "default"),
    }
    assert {n: step.rank for n, step in steps.items()} == {"a": 11, "b": 5, "c": 11, "d": 4, "e": 1}


def test_each_server_is_told_with_the_earliest_second_at_which_it_is_needed():
    written = Graph(
        name="x",
        operations=[
            Operation(id="a", server="one", tool="t", expect=2),
            Operation(id="b", server="one", tool="t", expect=5),
            Operation(id="c", server="two", tool="t", needs=["a", "b"], expect=1),
            Operation(id="d", server="two", tool="t", needs=["a"], expect=1),
            Operation(id="e", server="three", tool="t", needs=["c", "d"]),
        ],
    )
    assert compile_plan(written).servers == {"one": 0, "two": 2, "three": 6}


def test_a_cycle_is_refused():
    with pytest.raises(GraphError, match="a → b → a"):
        compile_plan(graph(a=["b"], b=["a"]))


def test_what_is_unknown_is_refused_without_a_check_before():
    with pytest.raises(GraphError, match="needs 'c', which is no operation"):
        compile_plan(graph(a=["c"]))


def test_a_chain_of_ten_thousand_operations_is_compiled():
    chain = {f"o{n}": [f"o{n - 1}"] if n else [] for n in range(10_000)}
    plan = compile_plan(graph(**chain))
    assert plan.steps["o0"].rank == 10_000 * DEFAULT_SECONDS
    assert list(plan.steps) == list(chain)
