"""A node that dies or hangs, and its return."""

from __future__ import annotations

import os
import signal

import pytest

from omx_tasks.cluster.healing import heal
from omx_tasks.cluster.status import NodeStatus
from omx_tasks.errors import NotFoundError


def at(cluster, port: int) -> NodeStatus:
    return next(node for node in cluster.status().nodes if node.port == port)


@pytest.fixture
def cluster(make_cluster):
    made = make_cluster(node_timeout_ms=500)
    made.up()
    return made


def follower_of(cluster, master: NodeStatus) -> NodeStatus:
    return next(node for node in cluster.status().nodes if node.master == master.id)


def test_a_replica_takes_over_from_a_killed_master_which_heals_to_a_replica(
    cluster, connect, wait_until
):
    connect(cluster).mset_nonatomic({f"key-{n}": str(n) for n in range(100)})
    master = cluster.status().nodes[0]
    heir = follower_of(cluster, master)
    wait_until(lambda: at(cluster, heir.port).lag == 0 and cluster.status().alone == 0)
    os.kill(master.pid, signal.SIGKILL)
    wait_until(lambda: at(cluster, heir.port).slots == master.slots)
    wait_until(lambda: (cluster.status().state, cluster.status().alone) == ("degraded", 1))
    assert not at(cluster, master.port).alive

    done = heal(cluster.directory)

    assert any(f"started node 127.0.0.1:{master.port} again" in words for words in done)
    assert f"node 127.0.0.1:{master.port} is a replica of 127.0.0.1:{heir.port}" in done
    wait_until(lambda: (cluster.status().state, cluster.status().alone) == ("ok", 0))
    wait_until(lambda: at(cluster, master.port).link == "up")
    client = connect(cluster)
    assert [client.get(f"key-{n}") for n in range(100)] == [str(n) for n in range(100)]


def test_the_roles_after_a_failover_survive_a_restart(cluster, wait_until):
    master = cluster.status().nodes[0]
    heir = follower_of(cluster, master)
    os.kill(master.pid, signal.SIGKILL)
    wait_until(lambda: at(cluster, heir.port).slots == master.slots)
    heal(cluster.directory)
    cluster.down()
    cluster.up()
    wait_until(lambda: cluster.status().state == "ok")
    assert at(cluster, heir.port).role == "master"
    assert at(cluster, master.port).master == heir.id


def test_healing_restarts_a_node_that_hangs(cluster, wait_until):
    replica = cluster.status().nodes[5]
    os.kill(replica.pid, signal.SIGSTOP)
    done = heal(cluster.directory)
    assert f"stopped node 127.0.0.1:{replica.port} (process {replica.pid})" in done[0]
    wait_until(lambda: cluster.status().state == "ok")


def test_healing_brings_back_a_shard_that_lost_all_its_nodes(cluster, connect):
    client = connect(cluster)
    client.mset_nonatomic({f"key-{n}": str(n) for n in range(100)})
    master = cluster.status().nodes[1]
    for node in (follower_of(cluster, master), master):
        os.kill(node.pid, signal.SIGKILL)
    heal(cluster.directory)
    client = connect(cluster)
    assert [client.get(f"key-{n}") for n in range(100)] == [str(n) for n in range(100)]


def test_a_node_that_cannot_come_back_is_told_of_and_the_others_serve_on(cluster, wait_until):
    replica = cluster.status().nodes[4]
    os.kill(replica.pid, signal.SIGKILL)
    data = cluster.directory / "nodes" / str(replica.port) / "nodes.conf"
    data.write_text("no such thing\n")
    done = heal(cluster.directory)
    assert len(done) == 1
    assert f"cannot bring a node back: node 127.0.0.1:{replica.port} ended" in done[0]
    assert cluster.status().state == "degraded"
    assert cluster.status().slots_served == 16_384


def test_healing_a_healthy_cluster_does_nothing(cluster):
    before = cluster.status()
    assert heal(cluster.directory) == []
    assert [node.pid for node in cluster.status().nodes] == [node.pid for node in before.nodes]


def test_healing_without_a_cluster_says_how_to_get_one(tmp_path):
    with pytest.raises(NotFoundError, match="omx cluster up"):
        heal(tmp_path / "none")
