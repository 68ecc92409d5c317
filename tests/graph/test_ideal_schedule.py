import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.graph.schedule import bound, critical_path, simulate


def plan(**needs):
    operations = [Operation(id=n, server="s", tool="t", needs=needs[n]) for n in needs]
    return compile_plan(Graph(name="x", operations=operations))


@st.composite
def cases(draw):
    count = draw(st.integers(1, 6))
    needs = {
        f"o{n}": draw(st.lists(st.sampled_from([f"o{m}" for m in range(n)]), unique=True))
        if n else []
        for n in range(count)
    }  # fmt: skip
    duration = st.one_of(st.integers(0, 4), st.lists(st.integers(0, 4), max_size=3))
    return plan(**needs), {n: draw(duration) for n in needs}, draw(st.integers(1, 4))


@given(cases())
def test_the_simulated_time_lies_between_the_bound_and_twice_the_bound(case):
    compiled, durations, slots = case
    least = bound(compiled, durations, slots)
    assert least - 1e-9 <= simulate(compiled, durations, slots) <= (2 - 1 / slots) * least + 1e-9


@given(cases())
def test_with_a_slot_for_each_item_the_run_takes_the_critical_path(case):
    compiled, durations, _ = case
    assert simulate(compiled, durations, 1000) == critical_path(compiled, durations)[0]


@given(cases())
def test_one_slot_does_all_the_work_one_after_the_other(case):
    compiled, durations, _ = case
    work = sum(sum(d) if isinstance(d, list) else d for d in durations.values())
    assert simulate(compiled, durations, 1) == bound(compiled, durations, 1) == work


def seconds_of(value):
    return max(value, default=0) if isinstance(value, list) else value


@given(cases())
def test_the_critical_path_is_the_longest_of_all_paths(case):
    compiled, durations, _ = case
    seconds, path = critical_path(compiled, durations)
    chains = [
        chain
        for size in range(1, len(compiled.steps) + 1)
        for chain in itertools.combinations(compiled.steps, size)
        if all(a in compiled.steps[b].needs for a, b in itertools.pairwise(chain))
    ]
    assert seconds == max(sum(seconds_of(durations[n]) for n in chain) for chain in chains)
    assert sum(seconds_of(durations[n]) for n in path) == seconds
    assert tuple(path) in chains


def test_the_longest_path_goes_first_even_where_it_was_written_last():
    compiled = plan(a=[], b=[], c=[], long=[], tail=["long"])
    durations = {"a": 1, "b": 1, "c": 1, "long": 1, "tail": 2}
    assert simulate(compiled, durations, 2) == 3


def test_a_level_is_no_barrier():
    compiled = plan(a=[], slow=[], b=["a"], c=["b"])
    assert simulate(compiled, {"a": 1, "slow": 3, "b": 1, "c": 1}, 2) == 3


def test_the_items_of_a_foreach_run_in_parallel_and_all_must_finish():
    compiled = plan(each=[], after=["each"])
    durations = {"each": [2, 2, 2], "after": 1}
    assert simulate(compiled, durations, 3) == 3
    assert simulate(compiled, durations, 2) == 5
    assert bound(compiled, durations, 2) == 3.5
    assert critical_path(compiled, durations) == (3, ["each", "after"])


def test_operations_that_did_not_run_take_no_time_and_hold_nothing_up():
    compiled = plan(a=[], empty=["a"], skipped=["empty"], end=["skipped"])
    assert simulate(compiled, {"a": 1, "empty": [], "end": 2}, 2) == 3
    assert simulate(compiled, {}, 2) == 0


def test_no_slots_are_refused():
    for function in (simulate, bound):
        with pytest.raises(ValueError, match="slots must be at least 1, not 0"):
            function(plan(a=[]), {"a": 1}, 0)


def test_a_chain_of_ten_thousand_operations_without_work_is_simulated():
    compiled = plan(**{f"o{n}": [f"o{n - 1}"] if n else [] for n in range(10_000)})
    assert simulate(compiled, {}, 1) == 0
    assert simulate(compiled, dict.fromkeys(compiled.steps, 1), 1) == 10_000
