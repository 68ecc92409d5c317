"""``omx stats``: on the system that is up, with nothing counted, and where not all is told."""

from __future__ import annotations

import json
import urllib.request
import uuid

import pytest

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.store import keys

GRAPH = """
name: {name}
operations:
  - {{id: list, server: notes, tool: list_notes}}
  - id: each
    server: notes
    tool: read_note
    foreach: "${{list.structured.notes}}"
    arguments: {{name: "${{item.name}}"}}
  - id: nowhere
    server: time
    tool: get_current_time
    arguments: {{timezone: Nowhere}}
    on_failure: continue
"""


def test_what_a_run_did_is_counted_by_the_coordinator(system, until):
    name = f"g{uuid.uuid4().hex[:8]}"
    graph = system.graph(GRAPH.format(name=name), f"{name}.yaml")
    run = system.omx("run", graph, "--json")
    items = len(run.json["operations"]["each"])

    def counted():
        told = system.omx("stats", "--json").json
        assert (told["by"], told["error"]) == ("operation", 0.0443)
        return {one["name"]: one for one in told["series"] if one["name"].startswith(name)}

    expected = {f"{name}/list": 1, f"{name}/each": items, f"{name}/nowhere": 1}
    until(lambda: {one: said["count"] for one, said in counted().items()} == expected, 60)
    found = counted()
    assert [found[f"{name}/{one}"]["failed"] for one in ("list", "nowhere")] == [0, 1]
    each = found[f"{name}/each"]
    assert 0 < each["call"]["p50"] <= each["call"]["p99"]
    assert 0 < each["waiting"]["p50"] <= each["waiting"]["p99"]
    table = system.omx("stats").out
    (line,) = [line for line in table.splitlines() if line.endswith(f"{name}/nowhere")]
    assert "100.0%" in line
    tools = {one["name"] for one in system.omx("stats", "--by", "tool", "--json").json["series"]}
    assert {"notes read_note", "time get_current_time"} <= tools


def test_a_system_says_where_its_metrics_are(system):
    url = json.loads((system.home / "system.json").read_text())["metrics"]
    with urllib.request.urlopen(url, timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    assert "omx_leader 1.0" in lines
    assert 'omx_agents{template="everything"} 2.0' in lines
    assert 'omx_target{figure="failed_share"} 0.005' in lines
    assert not [
        line for line in lines if line.startswith("omx_scrape_errors_total") and line[-3:] != "0.0"
    ]


def test_where_nothing_was_counted_it_says_what_does(place, tmp_path):
    cluster = EmbeddedCluster(tmp_path / "cluster", masters=1, replicas=0)
    cluster.up(bound=True)
    try:
        answer = place.omx("stats", OMX_BROKER_URL=cluster.url())
    finally:
        cluster.down(delete=True, timeout=5)
    assert (answer.code, answer.out) == (0, "")
    assert "a coordinator counts what happens" in answer.err


@pytest.mark.parametrize(
    ("tells", "says"), [("none", "of no operations"), ("failed", "only of operations")]
)
def test_an_agent_that_does_not_tell_of_all_operations_is_named(
    place, cluster_url, store, tells, says
):
    key, name = keys.agents(), f"agent-{uuid.uuid4().hex[:8]}"
    record = {
        "host": "h", "pid": 1, "slots": 1, "busy": 0, "done": 0, "servers": [], "failed": {},
        "config": "", "tells": tells,
    }  # fmt: skip
    seconds = int(store.command(key, "TIME")[0])
    store.command(key, "HSET", key, name, f"{seconds * 1000} {json.dumps(record)}")
    answer = place.omx("stats", OMX_BROKER_URL=cluster_url)
    store.command(key, "HDEL", key, name)
    assert f"{name}: tells {says}" in " ".join(answer.err.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--last", "5x"), "write 90s, 15m, 1h or 2d"),
        (("--last", "0s"), "is no while"),
        (("--by", "agent"), "'agent' is not one of"),
    ],
)
def test_what_cannot_be_asked_is_refused(place, cluster_url, words, says):
    answer = place.omx("stats", *words, OMX_BROKER_URL=cluster_url)
    assert answer.code == 2
    assert says in answer.err
