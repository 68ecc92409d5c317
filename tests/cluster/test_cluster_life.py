"""An embedded cluster from its making to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from omx_tasks.cluster.ports import check_free, reserved_ports
from omx_tasks.cluster.status import ClusterStatus
from omx_tasks.errors import ClusterError, NotFoundError

STARTER = """
import sys, threading
from pathlib import Path
from omx_tasks.cluster.embedded import EmbeddedCluster
EmbeddedCluster(Path(sys.argv[1]), server=sys.argv[2]).up(bound=sys.argv[3] == "bound")
print("up", flush=True)
threading.Event().wait()
"""


def pids(status: ClusterStatus) -> list[int]:
    return [node.pid for node in status.nodes if node.pid is not None]


def running(status: ClusterStatus) -> list[psutil.Process]:
    """Return its processes, which are not mistaken for others that get their ids."""
    return [psutil.Process(pid) for pid in pids(status)]


def kill(numbers: Iterable[int]) -> None:
    for pid in numbers:
        os.kill(pid, signal.SIGKILL)


def test_a_new_cluster_is_ready_and_serves_every_slot(make_cluster, connect):
    cluster = make_cluster()
    cluster.up()
    status = cluster.status()
    assert (status.state, status.slots_served, status.trouble) == ("ok", 16_384, ())
    client = connect(cluster)
    for number in range(200):  # no grace for the first writes: ready is ready
        client.set(f"key-{number}", number)
    assert sum(node.keys or 0 for node in cluster.status().nodes if node.role == "master") == 200


def test_every_replica_is_linked_to_a_master_of_its_own(make_cluster):
    cluster = make_cluster()
    cluster.up()
    nodes = cluster.status().nodes
    assert [node.role for node in nodes] == ["master"] * 3 + ["replica"] * 3
    assert [node.link for node in nodes] == [None] * 3 + ["up"] * 3
    assert {node.master for node in nodes[3:]} == {node.id for node in nodes[:3]}


@pytest.mark.parametrize(("masters", "replicas"), [(1, 0), (2, 2)])
def test_other_shapes_are_ready_too(make_cluster, masters, replicas):
    cluster = make_cluster(masters=masters, replicas=replicas)
    cluster.up()
    status = cluster.status()
    assert status.state == "ok"
    assert sum(node.role == "master" for node in status.nodes) == masters
    assert len(status.nodes) == masters * (1 + replicas)


def test_the_node_timeout_asked_for_holds_after_the_making(make_cluster, connect):
    cluster = make_cluster(node_timeout_ms=3100)
    cluster.up()
    answers = connect(cluster).config_get("cluster-node-timeout", target_nodes="all")
    assert {answer["cluster-node-timeout"] for answer in answers.values()} == {"3100"}


def test_up_again_changes_nothing(make_cluster):
    cluster = make_cluster()
    cluster.up()
    before = cluster.status()
    cluster.up()
    assert pids(cluster.status()) == pids(before)
    assert cluster.url() == before.url


def test_stopping_and_starting_keeps_data_and_ports(make_cluster, connect):
    cluster = make_cluster()
    cluster.up()
    url = cluster.url()
    connect(cluster).mset_nonatomic({f"key-{n}": str(n) for n in range(100)})
    cluster.down()
    cluster.up()
    assert cluster.url() == url
    client = connect(cluster)
    assert [client.get(f"key-{n}") for n in range(100)] == [str(n) for n in range(100)]


def test_killing_all_nodes_keeps_what_was_acknowledged(make_cluster, connect):
    cluster = make_cluster()
    cluster.up()
    client = connect(cluster)
    for number in range(300):
        client.set(f"key-{number}", number)
    kill(pids(cluster.status()))
    cluster.up()
    client = connect(cluster)
    assert [client.get(f"key-{n}") for n in range(300)] == [str(n) for n in range(300)]


def test_down_leaves_no_process_and_no_port(make_cluster):
    with reserved_ports(6) as ports:
        cluster = make_cluster(ports=ports)
        cluster.up()
        nodes = running(cluster.status())
        cluster.down()
        check_free(ports)
    assert psutil.wait_procs(nodes, timeout=20)[1] == []
    assert cluster.status().state == "down"


def test_down_with_delete_leaves_nothing_and_a_second_down_is_harmless(make_cluster):
    cluster = make_cluster()
    cluster.up()
    cluster.down(delete=True)
    assert not cluster.directory.exists()
    cluster.down()
    assert not cluster.directory.exists()
    with pytest.raises(NotFoundError):
        cluster.status()


def test_delete_leaves_what_belongs_to_others(make_cluster):
    cluster = make_cluster(masters=1, replicas=0)
    cluster.up()
    (cluster.directory / "notes.txt").write_text("mine")
    cluster.down(delete=True)
    assert [path.name for path in cluster.directory.iterdir()] == ["notes.txt"]
    (cluster.directory / "notes.txt").unlink()


def test_two_clusters_live_side_by_side(make_cluster, connect, wait_until):
    one, other = make_cluster("one"), make_cluster("other")
    one.up()
    other.up()
    connect(one).set("where", "one")
    assert connect(other).get("where") is None
    one.down()
    wait_until(lambda: other.status().state == "ok")


def test_two_ups_at_once_make_one_cluster(make_cluster):
    clusters = [make_cluster() for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda cluster: cluster.up(), clusters))
    assert clusters[0].is_ready()
    assert clusters[0].url() == clusters[1].url()
    assert len(list((clusters[0].directory / "nodes").iterdir())) == 6


def test_nodes_outlive_the_thread_that_started_them(make_cluster):
    cluster = make_cluster()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(cluster.up, bound=True).result()
    assert cluster.is_ready()


def start_elsewhere(directory: Path, server: str, how: str) -> subprocess.Popen[str]:
    """Start a cluster from another process, and return that process when the cluster is up."""
    command = [sys.executable, "-c", STARTER, str(directory), server, how]
    starter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    assert starter.stdout.readline() == "up\n"
    return starter


def test_a_bound_cluster_dies_with_its_killed_starter(make_cluster, server):
    cluster = make_cluster()
    with start_elsewhere(cluster.directory, server, "bound") as starter:
        nodes = running(cluster.status())
        starter.kill()
    assert len(nodes) == 6
    assert psutil.wait_procs(nodes, timeout=20)[1] == []


def test_an_unbound_cluster_outlives_its_killed_starter(make_cluster, server, wait_until):
    cluster = make_cluster()
    with start_elsewhere(cluster.directory, server, "unbound") as starter:
        nodes = running(cluster.status())
        starter.kill()
    wait_until(cluster.is_ready)
    assert all(node.is_running() for node in nodes)


def test_a_failed_up_stops_what_it_started_and_the_next_one_succeeds(make_cluster):
    cluster = make_cluster()
    with pytest.raises(ClusterError):
        cluster.up(timeout=0.1)
    assert pids(cluster.status()) == []
    cluster.up()
    assert cluster.status().state == "ok"


def test_a_process_that_got_the_id_of_a_dead_node_is_left_alone(make_cluster):
    cluster = make_cluster(masters=1, replicas=0)
    cluster.up()
    node = cluster.status().nodes[0]
    cluster.down()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        pid_file = cluster.directory / "nodes" / str(node.port) / "node.pid"
        pid_file.write_text(str(stranger.pid))
        cluster.down()
        assert stranger.poll() is None
        cluster.up()
        assert pids(cluster.status()) != [stranger.pid]


def test_any_name_will_do_for_the_folder(make_cluster):
    cluster = make_cluster('my "own" \\ clüster', masters=1, replicas=0)
    cluster.up()
    assert cluster.is_ready()


def test_a_cluster_keeps_its_shape(make_cluster):
    make_cluster(masters=1, replicas=0).up()
    with pytest.raises(ClusterError, match="has 1 masters with 0 replicas each, not 3 with 1"):
        make_cluster().up()


def test_a_port_taken_meanwhile_is_named_and_the_other_nodes_stay_down(make_cluster):
    cluster = make_cluster()
    cluster.up()
    ports = [node.port for node in cluster.status().nodes]
    cluster.down()
    thief = make_cluster("thief", masters=1, replicas=0, ports=[ports[4]])
    thief.up()
    with pytest.raises(ClusterError, match=f"port {ports[4]} is taken"):
        cluster.up()
    assert pids(cluster.status()) == []
