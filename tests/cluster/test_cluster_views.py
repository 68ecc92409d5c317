"""Reading what nodes say, and sharing slots out: no server needed."""

from __future__ import annotations

import json

import pytest

from omx_tasks.cluster.formation import plan_shards
from omx_tasks.cluster.node import Node
from omx_tasks.cluster.readiness import unready
from omx_tasks.cluster.view import View, parse_members

NODES = """\
aa 127.0.0.1:7000@17000,,tls-port=0,shard-id=s myself,master - 0 0 1 connected 0-9000 9002 [7-<-bb]
bb 127.0.0.1:7001@17001 master,fail? - 0 0 2 connected 9003-16383 9001
cc 127.0.0.1:7002@17002 slave aa 0 0 1 connected
dd :0@0 master,noaddr - 0 0 0 disconnected
"""


def view(myself: int, *, state: str = "ok", link_up: bool | None = None) -> View:
    lines = [
        ["aa", "127.0.0.1:1@2", "master", "-", "0", "0", "1", "connected", "0-16383"],
        ["bb", "127.0.0.1:3@4", "slave", "aa", "0", "0", "1", "connected"],
    ]
    lines[myself][2] += ",myself"
    members = parse_members("\n".join(" ".join(line) for line in lines))
    return View(members, state, link_up, offset=0, memory=0, keys=0, rewriting=False)


def test_members_are_read_with_roles_slots_and_health():
    first, second, third, fourth = parse_members(NODES)
    assert (first.id, first.port, first.role, first.master) == ("aa", 7000, "master", None)
    assert first.ranges == ((0, 9000), (9002, 9002))
    assert first.slots == 9002
    assert first.myself
    assert [member.well for member in (first, second, third, fourth)] == [True, False, True, False]
    assert (third.role, third.master, third.slots) == ("replica", "aa", 0)


def test_a_settled_cluster_is_ready():
    assert unready({1: view(0), 3: view(1, link_up=True)}, masters=1) == {}


@pytest.mark.parametrize(
    ("views", "masters", "trouble"),
    [
        ({1: view(0), 3: None}, 1, {3: "does not answer"}),
        ({1: view(0, state="fail"), 3: view(1, link_up=True)}, 1, {1: "says cluster_state:fail"}),
        (
            {1: view(0), 3: view(1, link_up=False)},
            1,
            {3: "is a replica without a link to its master"},
        ),
        (
            {1: view(0)},
            1,
            {1: "does not see all the others"},
        ),
        (
            {1: view(0), 3: view(1, link_up=True)},
            2,
            dict.fromkeys((1, 3), "sees 1 masters with slots instead of 2"),
        ),
    ],
)
def test_what_is_missing_is_told_by_node(views, masters, trouble):
    assert unready(views, masters) == trouble


@pytest.mark.parametrize(("masters", "replicas"), [(1, 0), (3, 1), (5, 2), (7, 0)])
def test_slots_and_replicas_are_shared_out_evenly(tmp_path, masters, replicas):
    nodes = [Node(tmp_path, port) for port in range(20_000, 20_000 + masters * (1 + replicas))]
    shards = plan_shards(nodes, masters)
    served = [slot for s in shards for slot in range(s.first_slot, s.last_slot + 1)]
    assert served == list(range(16_384))
    assert {len(shard.replicas) for shard in shards} == {replicas}
    placed = [node.port for shard in shards for node in (shard.master, *shard.replicas)]
    assert sorted(placed) == [node.port for node in nodes]


def test_the_status_of_a_cluster_is_plain_json(make_cluster):
    cluster = make_cluster()
    cluster.up()
    status = cluster.status().as_json()
    assert json.loads(json.dumps(status)) == status
    assert status["state"] == "ok"
    assert status["url"] == cluster.url()
    assert len(status["nodes"]) == 6
    assert set(status["nodes"][0]) == {
        "host", "port", "role", "id", "master", "slots", "ranges", "pid", "alive", "link", "lag",
        "memory", "keys",
    }  # fmt: skip
    assert status["nodes"][0]["ranges"] == [[0, 5460]]
    assert status["nodes"][3]["lag"] is not None
