import json
import subprocess
import sys

from celery.canvas import Signature, _chain, _chord, group
from hypothesis import given
from hypothesis import strategies as st

from omx_tasks.graph.canvas import describe, series_parallel, signatures
from omx_tasks.graph.marker import MARKER, OPERATION
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan


def plan(**needs):
    operations = [Operation(id=n, server="s", tool="t", needs=needs[n]) for n in needs]
    return compile_plan(Graph(name="x", operations=operations))


BRIEF = {"list": [], "now": ["list"], "each": ["list"], "brief": ["now", "each"]}


def ids(signature):
    return [task.args[1] for task in signature.tasks]


def test_what_is_released_together_is_a_group_and_each_join_is_a_chord():
    canvas = signatures(plan(**BRIEF), run="r1")
    assert {needs: ids(released) for needs, released in canvas.groups.items()} == {
        (): ["list"],
        ("list",): ["now", "each"],
        ("now", "each"): ["brief"],
    }
    assert all(isinstance(released, group) for released in canvas.groups.values())
    (join,) = canvas.chords.values()
    assert isinstance(join, _chord)
    assert ids(join) == ["now", "each"]
    assert join.body.args == ("r1", "brief")


def test_a_message_names_run_and_operation_and_carries_a_constant_marker():
    small = signatures(plan(**BRIEF), "r1")
    large = signatures(plan(**{f"o{n}": [f"o{n - 1}"] if n else [] for n in range(500)}), "r1")
    for canvas in (small, large):
        for released in canvas.groups.values():
            for task in released.tasks:
                assert (task.task, task.args[0], task.immutable) == (OPERATION, "r1", True)
                assert task.options == {"chord": MARKER}
    assert max(len(json.dumps(t)) for g in large.groups.values() for t in g.tasks) < 500


def test_the_canvas_is_described_line_by_line():
    assert describe(plan(**BRIEF)) == (
        "group(list)\nlist → group(now, each)\nchord([now, each], brief)"
    )
    assert describe(plan(a=[], b=[], c=["a", "b"], d=["a", "b"])) == (
        "group(a, b)\nchord([a, b], c)\nchord([a, b], d)"
    )


def test_importing_the_other_modules_imports_no_celery():
    code = (
        "import sys, omx_tasks.graph.checks, omx_tasks.graph.schedule, omx_tasks.graph.draw;"
        "sys.exit(any(name.split('.')[0] in ('celery', 'kombu') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def order_of(signature):
    """Return all operations of a canvas and which of them comes before which, as Celery runs it."""
    if isinstance(signature, _chord):
        return one_after_the_other([group(signature.tasks), signature.body])
    if isinstance(signature, _chain):
        return one_after_the_other(signature.tasks)
    if isinstance(signature, group):
        parts = [order_of(part) for part in signature.tasks]
        return {n for names, _ in parts for n in names}, {p for _, pairs in parts for p in pairs}
    assert signature.task == OPERATION
    assert not signature.options
    return {signature.args[1]}, set()


def one_after_the_other(signatures):
    names, pairs = set(), set()
    for more, inner in map(order_of, signatures):
        pairs |= inner | {(a, b) for a in names for b in more}
        names |= more
    return names, pairs


def closure(compiled):
    before = {}
    for name, step in compiled.steps.items():
        before[name] = set(step.needs).union(*(before[need] for need in step.needs))
    return {(a, b) for b, names in before.items() for a in names}


@st.composite
def series_parallel_needs(draw):
    """Needs that are series-parallel by construction."""
    needs = {}

    def part(depth, after):
        kind = draw(st.sampled_from(["one", "series", "parallel"])) if depth else "one"
        if kind == "one":
            name = f"o{len(needs)}"
            needs[name] = list(after)
            return [name]
        ends = []
        for _ in range(draw(st.integers(2, 3))):
            last = part(depth - 1, after)
            if kind == "series":
                after = ends = last
            else:
                ends = ends + last
        return ends

    part(3, [])
    return needs


@given(series_parallel_needs())
def test_a_series_parallel_plan_is_one_canvas_with_exactly_its_order(needs):
    compiled = plan(**needs)
    canvas = series_parallel(compiled)
    assert isinstance(canvas, Signature)
    assert order_of(canvas) == (set(needs), closure(compiled))


@given(st.data())
def test_any_canvas_that_is_given_has_exactly_the_plans_order(data):
    names = [f"o{n}" for n in range(data.draw(st.integers(1, 7)))]
    needs = {
        name: data.draw(st.lists(st.sampled_from(names[:n]), unique=True)) if n else []
        for n, name in enumerate(names)
    }
    compiled = plan(**needs)
    canvas = series_parallel(compiled)
    if canvas is not None:
        assert order_of(canvas) == (set(names), closure(compiled))


def test_a_plan_that_is_not_series_parallel_has_no_canvas():
    assert series_parallel(plan(a=[], b=[], c=["a"], d=["a", "b"])) is None
    assert series_parallel(plan(s=[], a=["s"], b=["s"], c=["a"], d=["a", "b"])) is None


def test_a_fallback_is_linked_to_the_failure_of_what_it_stands_for():
    operations = [
        Operation(id="a", server="s", tool="t", fallback="b"),
        Operation(id="n", server="s", tool="t"),
        Operation(id="b", server="s", tool="t", needs=["n"]),
        Operation(id="end", server="s", tool="t", needs=["a"]),
    ]
    compiled = compile_plan(Graph(name="x", operations=operations))
    canvas = signatures(compiled, run="r1")
    assert [ids(released) for released in canvas.groups.values()] == [["a", "n"], ["end"]]
    assert canvas.chords == {}
    (linked,) = canvas.errors["a"].options["link_error"]
    assert linked.args == ("r1", "b")
    assert describe(compiled).splitlines() == [
        "group(a, n)",
        "a → group(end)",
        "a.on_error(b) after n",
    ]
    assert series_parallel(compiled) is None
