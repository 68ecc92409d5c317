"""Why nobody can take an operation, said before anything is queued."""

from __future__ import annotations

from typing import Any

import pytest

from omx_tasks.agents import templates
from omx_tasks.agents.matcher import Matcher, check_words, spelled
from omx_tasks.agents.profile import ALL_WORDS
from omx_tasks.agents.registry import AgentRecord
from omx_tasks.agents.templates import EVERYTHING
from omx_tasks.errors import ConfigurationError, GraphError
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.priorities import Priority

CATALOGUE = templates.load()
ROLES: dict[str, list[str]] = {
    **{name: [name] for name in ("git", "filesystem", "fetch", "time", "github")},
    "notes": ["notes"],
}


def agent(template: str = EVERYTHING, servers: str = "", **fields: Any) -> AgentRecord:
    """Make the record of an agent as it writes it itself, with these servers of a file that has all of them."""
    known = CATALOGUE.get(template)
    return AgentRecord(
        name=f"{template}1@here",
        **{"host": "h", "pid": 1, "slots": 1, "busy": 0, "done": 0, "config": "", "heard": 0.0},
        servers=servers.split() or [*ROLES],
        **{
            "failed": {},
            "roles": ROLES,
            "template": template,
            "capabilities": list(known.capabilities) if known else [ALL_WORDS],
            "priorities": [one.name for one in (known.priorities if known else Priority)],
            **fields,
        },
    )


CODER = agent("coder", "git filesystem")


def graph_of(server: str, *words: str, priority: str = "P2") -> Graph:
    one = Operation(id="a", server=server, tool="t", requires=list(words), priority=priority)
    return Graph(name="g", operations=[one])


@pytest.mark.parametrize(
    ("up", "graph"),
    [
        ([agent()], graph_of("notes", "code_review", "training", priority="P0")),
        ([CODER], graph_of("git")),
        ([CODER], graph_of("git", "refactoring", "server:filesystem", priority="P0")),
        ([agent("reviewer", "git"), CODER], graph_of("filesystem", "code_generation")),
        ([agent("maps", "notes", capabilities=["map_reading"])], graph_of("notes", "map_reading")),
    ],
)
def test_who_covers_the_servers_the_words_and_the_priority_takes_it(
    up: list[AgentRecord], graph: Graph
) -> None:
    Matcher(CATALOGUE, up).check(graph)


REFUSED = {
    "unknown word": (
        [agent()],
        graph_of("git", "code_revue"),
        "requires 'code_revue', which no template offers. Did you mean 'code_review'?",
    ),
    "another spelling": ([agent()], graph_of("git", "code-review"), "mean 'code_review'?"),
    "not all words": (
        [CODER],
        graph_of("git", "code_review", "refactoring"),
        "no template offers all of code_review, refactoring (coder lacks code_review, reviewer lacks refactoring, ",
    ),
    "priority": (
        [agent("benchmark-suite", "git")],
        graph_of("git", "benchmarking", priority="P0"),
        "no template that offers benchmarking serves P0 (benchmark-suite serves P2-P3): give it another priority",
    ),
    "no role": (
        [CODER],
        graph_of("notes", "refactoring"),
        "no agent that is up has refactoring with server notes; coder, sparc-coder offer it, but may not hold notes: "
        'say in the server file which role that fills, one of "filesystem", "git", "memory"',
    ),
    "broken server": (
        [agent("coder", "filesystem", failed={"git": "server 'git': no such command"})],
        graph_of("git", "api_design"),
        "coder1@here (coder) is up without it: server 'git': no such command",
    ),
    "not up": (
        [CODER],
        graph_of("git", "code_review"),
        "no agent that is up has code_review with server git; start one: `omx agent start reviewer`\nTo have it queued",
    ),
    "server not up": (
        [CODER],
        graph_of("fetch"),
        "no agent that is up has server fetch; start one: `omx agent start researcher` (or backend-dev, ",
    ),
    "priority not up": (
        [agent("benchmark-suite", "git")],
        graph_of("git", priority="P0"),
        "no agent that is up has server git and serves P0; start one",
    ),
    "servers apart": (
        [CODER, agent("api-docs", "fetch")],
        graph_of("git", "server:fetch"),
        "no agent that is up has all of the servers fetch, git; start one: `omx agent start researcher`",
    ),
}


@pytest.mark.parametrize(("up", "graph", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_the_reason_is_told_with_what_can_be_done(
    up: list[AgentRecord], graph: Graph, why: str
) -> None:
    with pytest.raises((GraphError, ConfigurationError)) as caught:
        Matcher(CATALOGUE, up).check(graph, "g.yaml")
    assert str(caught.value).startswith("g.yaml: operation 'a': ")
    assert why in str(caught.value)


def test_what_nobody_can_take_now_may_wait_and_an_unknown_word_may_not() -> None:
    matcher = Matcher(CATALOGUE, [CODER])
    for _, graph, why in REFUSED.values():
        if "Did you mean" not in why and "mean '" not in why:
            matcher.check(graph, wait=True)
    with pytest.raises(GraphError):
        matcher.check(graph_of("git", "code_revue"), wait=True)


def test_one_reason_is_told_once_however_many_operations_have_it() -> None:
    calls = [Operation(id=f"o{n}", server="fetch", tool="t") for n in range(1000)]
    with pytest.raises(ConfigurationError) as caught:
        Matcher(CATALOGUE, [CODER]).check(Graph(name="g", operations=calls))
    assert str(caught.value).count("operation 'o0'") == 1
    assert len(str(caught.value).splitlines()) == 2


def test_the_words_can_be_checked_where_no_system_is_up() -> None:
    check_words(graph_of("x", "server:y", "training"), CATALOGUE.words)
    with pytest.raises(GraphError, match="requires 'no_such_word'"):
        check_words(graph_of("x", "no_such_word"), CATALOGUE.words)


@pytest.mark.parametrize(
    ("numbers", "text"), [([0, 1, 2], "P0-P2"), ([2], "P2"), ([0, 3], "P0 P3"), ([2, 3], "P2-P3")]
)
def test_priorities_are_spelled_shortly(numbers: list[int], text: str) -> None:
    assert spelled(Priority(number) for number in numbers) == text
