"""Agents of different templates: who takes what, what each holds, and what is said where nobody is up."""

from __future__ import annotations

import sys

import pytest
from fleet import Fleet, one

from omx_tasks.agents.registry import agents
from omx_tasks.api import submit_graph
from omx_tasks.broker import audit
from omx_tasks.broker.routing import queue_of
from omx_tasks.errors import ConfigurationError, GraphError
from omx_tasks.graph.model import Graph
from omx_tasks.store import keys

NOTES = {"command": sys.executable, "args": ["-m", "omx_tasks.examples.notes"]}


@pytest.fixture
def pair(fleet: Fleet) -> Fleet:
    """A coder that holds the ledger, and a reviewer that holds it and the notes."""
    fleet.hints["roles"] = ["git"]
    fleet.others["notes"] = {**NOTES, "omx": {"roles": ["github"]}}
    fleet.start(template="coder")
    fleet.start(template="reviewer")
    return fleet


def test_each_takes_what_its_template_covers_sets_asked_for_later_included(pair: Fleet) -> None:
    coder, reviewer = pair.agents
    records = {record.name: record for record in agents(pair.store)}
    assert records[coder.name].servers == [pair.ledger]
    assert records[coder.name].unfilled == ["filesystem", "memory"]
    assert (records[coder.name].template, records[coder.name].slots) == ("coder", 16)
    assert records[reviewer.name].servers == sorted([pair.ledger, "notes"])
    assert records[reviewer.name].slots == 32

    graph = Graph(
        name="both",
        operations=[
            *(pair.call(f"r{n}", requires=["code_review"]) for n in range(20)),
            *(pair.call(f"c{n}", requires=["refactoring"], needs=[f"r{n}"]) for n in range(20)),
            pair.call("two", requires=["code_review", "best_practices"], needs=["c1"]),
        ],
    )
    view = submit_graph(pair.store, graph, {}).wait(60)
    assert view.succeeded
    assert {one(view, f"r{n}").agent for n in range(20)} == {reviewer.name}
    assert {one(view, f"c{n}").agent for n in range(20)} == {coder.name}
    assert one(view, "two").agent == reviewer.name


def test_a_template_of_which_no_agent_is_up_is_named_and_nothing_is_queued(pair: Fleet) -> None:
    runs = pair.store.command(keys.runs(), "ZCARD", keys.runs())
    asked = Graph(name="plans", operations=[pair.call("a", requires=["trend_analysis"])])
    with pytest.raises(ConfigurationError) as caught:
        submit_graph(pair.store, asked, {})
    print(caught.value)
    assert "no agent that is up has trend_analysis with server" in str(caught.value)
    words = Graph(name="words", operations=[pair.call("a", requires=["code_revue"])])
    with pytest.raises(GraphError, match="Did you mean 'code_review'"):
        submit_graph(pair.store, words, {}, wait_for_agents=True)
    assert pair.store.command(keys.runs(), "ZCARD", keys.runs()) == runs


def test_what_may_wait_is_begun_when_such_an_agent_comes(fleet: Fleet) -> None:
    fleet.hints["roles"] = ["git"]
    fleet.start(template="coder")
    asked = Graph(name="later", operations=[fleet.call("a", requires=["code_review"])])
    with pytest.raises(ConfigurationError, match="start one: `omx agent start reviewer`"):
        submit_graph(fleet.store, asked, {})
    run = submit_graph(fleet.store, asked, {}, wait_for_agents=True)
    queue = queue_of(asked.operations[0].capabilities)
    assert queue in audit.names(fleet.store)
    reviewer = fleet.start(template="reviewer")
    assert one(run.wait(60), "a").agent == reviewer.name
