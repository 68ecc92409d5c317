"""What was measured of operations: averages that forget slowly, and a report that counts once."""

from __future__ import annotations

import uuid

import pytest

from omx_tasks.graph.model import Graph, Operation
from omx_tasks.results import durations
from omx_tasks.results.durations import WEIGHT, Measured
from omx_tasks.store import keys
from omx_tasks.store.client import Store


@pytest.fixture
def graph() -> Graph:
    word = uuid.uuid4().hex
    operations = [
        Operation(id="a", server=word, tool="t"),
        Operation(id="b", server=word, resource="r"),
    ]
    return Graph(name=f"measured {word}", operations=operations)


def _report(store: Store, graph: Graph, *seconds: float, operation: str = "a") -> None:
    call = f"{graph.operations[0].server} tool t"
    samples = [Measured(graph.name, operation, call, one) for one in seconds]
    for each in durations.learn(samples):
        assert store.run(each) == 2
        assert store.run(each) == 0, "a report that comes twice is counted once"


def test_the_first_sample_is_the_average_and_later_ones_pull_it(store: Store, graph: Graph) -> None:
    assert durations.read(store, graph).operations == {}
    _report(store, graph, 2.0)
    assert durations.read(store, graph).operations == {"a": 2.0}
    _report(store, graph, 4.0)
    average = 2.0 + WEIGHT * 2.0
    assert durations.read(store, graph).operations == {"a": pytest.approx(average)}
    _report(store, graph, 4.0, 4.0)
    average += (1 - (1 - WEIGHT) ** 2) * (4.0 - average)
    assert durations.read(store, graph).operations == {"a": pytest.approx(average, rel=1e-4)}


def test_another_graph_learns_from_the_same_call(store: Store, graph: Graph) -> None:
    _report(store, graph, 2.0)
    other = Graph(name="other " + graph.name, operations=graph.operations)
    known = durations.read(store, other)
    assert [known.of(one) for one in other.operations] == [(2.0, "call"), (1.0, "default")]


def test_what_nobody_adds_to_is_forgotten_some_day(store: Store, graph: Graph) -> None:
    _report(store, graph, 2.0)
    for key in (keys.operation_durations(graph.name), keys.call_durations()):
        assert 0 < store.command(key, "TTL", key) <= durations.KEEP


def test_no_more_averages_are_kept_than_allowed(
    store: Store, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durations, "MOST", 1)
    for name in ("a", "b", "a"):
        for each in durations.learn([Measured(graph.name, name, "", 3.0)]):
            store.run(each)
    assert durations.read(store, graph).operations == {"a": 3.0}


def test_thousands_of_averages_are_reported_in_calls_of_bounded_size() -> None:
    samples = [Measured("g", f"o{number}", "s tool t", 1.0) for number in range(2500)]
    assert [len(each.arguments) for each in durations.learn(samples)] == [4003, 4003, 2007]


def test_of_openings_it_is_known_how_far_off_the_average_is(store: Store) -> None:
    server, key = uuid.uuid4().hex, keys.opening_durations()

    def known(*samples: float) -> durations.Opening:
        for each in durations.learn_openings([(server, one) for one in samples]):
            assert store.run(each) == len(samples)
            assert store.run(each) == 0, "a report that comes twice is counted once"
        return durations.openings(store.command(key, "HGETALL", key))[server]

    assert known(2.0) == (2.0, 1.0)
    assert known(4.0) == pytest.approx((2.6, 1.3))
    assert known(2.6, 2.6) == pytest.approx((2.6, 1.3 * (1 - WEIGHT) ** 2))
