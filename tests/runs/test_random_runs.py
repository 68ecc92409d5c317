"""Random graphs, done in random order with random failures and repeats, against a few lines that say what is right."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from driven import Driven, operation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan
from omx_tasks.store.client import Store


@dataclass(frozen=True)
class Story:
    """A graph and what happens to it: needs, outcomes and who may fail, by number; a seed for the order."""

    needs: list[list[int]]
    outcomes: list[str]
    goes_on: list[bool]
    items: list[int | None]
    seed: int


@st.composite
def stories(draw: st.DrawFn) -> Story:
    size = draw(st.integers(1, 12))
    outcome = st.sampled_from(["succeeded"] * 6 + ["failed", "unknown"])
    return Story(
        [
            sorted(draw(st.sets(st.integers(0, n - 1), max_size=4))) if n else []
            for n in range(size)
        ],
        draw(st.lists(outcome, min_size=size, max_size=size)),
        draw(st.lists(st.booleans(), min_size=size, max_size=size)),
        draw(st.lists(st.sampled_from([None] * 4 + [0, 1, 3]), min_size=size, max_size=size)),
        draw(st.integers(0, 2**32)),
    )


def reference(story: Story) -> tuple[list[str], str]:
    """Return what becomes of each operation, and of the run."""
    states: list[str] = []
    for number, needs in enumerate(story.needs):
        passed = all(
            states[need] == "succeeded" or (states[need] != "skipped" and story.goes_on[need])
            for need in needs
        )
        outcome = "succeeded" if story.items[number] == 0 else story.outcomes[number]
        states.append(outcome if passed else "skipped")
    bad = any(
        state == "unknown" or (state == "failed" and not goes_on)
        for state, goes_on in zip(states, story.goes_on, strict=True)
    )
    return states, "failed" if bad else "succeeded"


@dataclass
class Executor:
    """Does what is ready in random order; repeats calls at random; one item bears a foreach's outcome."""

    run: Driven
    story: Story
    random: random.Random
    ready: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)

    def go(self) -> None:
        self.release(self.run.submit())
        while self.ready:
            name = self.ready.pop(self.random.randrange(len(self.ready)))
            assert self.run.start(name).verdict == "go"
            self.release(self.end(name))

    def release(self, names: list[str]) -> None:
        self.ready += names
        self.released += names

    def end(self, name: str) -> list[str]:
        number = int(name.removeprefix("o").partition("[")[0])
        items, outcome = self.story.items[number], self.story.outcomes[number]
        if items is not None and "[" not in name:
            return self.run.expand(name, list(range(items)))
        if items is not None and not name.endswith("[0]"):
            outcome = "succeeded"
        self.run.twice = self.random.random() < 0.3
        made_ready = self.run.finish(name, outcome)
        self.run.twice = False
        return made_ready


def _operations(story: Story) -> list[object]:
    return [
        operation(
            f"o{number}",
            [f"o{need}" for need in needs],
            on_failure="continue" if story.goes_on[number] else "fail",
            foreach=None if story.items[number] is None else "${inputs.list}",
        )
        for number, needs in enumerate(story.needs)
    ]


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(story=stories())
def test_any_graph_ends_as_the_reference_says_and_releases_each_operation_once(
    store: Store, story: Story
) -> None:
    graph = Graph(name="random", inputs={"list": {"default": []}}, operations=_operations(story))
    run = Driven(store, compile_plan(graph), {"list": []})
    executor = Executor(run, story, random.Random(story.seed))
    executor.go()

    states, run_state = reference(story)
    seen = run.stored()["states"]
    assert [seen[f"o{number}"] for number in range(len(states))] == states
    assert run.view().state == run_state
    assert len(executor.released) == len(set(executor.released))
    begun = {name.partition("[")[0] for name in executor.released}
    assert begun == {f"o{n}" for n, state in enumerate(states) if state != "skipped"}
    assert run.stored()["outbox"] == []
