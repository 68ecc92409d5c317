"""``omx cluster`` on the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from omx_tasks import settings
from omx_tasks.cli.cluster import cluster as command
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.ports import reserved_ports
from omx_tasks.errors import ClusterError, NotFoundError


@pytest.fixture
def omx_cluster(tmp_path, monkeypatch):
    """Run ``omx cluster WORDS…`` with a data folder of the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    yield lambda *words: CliRunner().invoke(command, list(words))
    EmbeddedCluster(tmp_path / "omx" / "cluster").down(delete=True)


def test_up_runs_the_server_program_of_the_settings(omx_cluster, monkeypatch):
    monkeypatch.setenv("OMX_REDIS_SERVER", "/nowhere/redis-server")
    settings.current.cache_clear()
    try:
        refused = omx_cluster("up").exception
    finally:
        settings.current.cache_clear()
    assert isinstance(refused, ClusterError)
    assert "/nowhere/redis-server" in str(refused)


def test_up_returns_with_a_ready_cluster_and_says_how_to_go_on(omx_cluster, tmp_path):
    shown = omx_cluster("up")
    assert shown.exit_code == 0
    cluster = EmbeddedCluster.existing(tmp_path / "omx" / "cluster")
    assert cluster.is_ready()
    assert f"export OMX_BROKER_URL={cluster.url()}" in shown.output


def test_json_is_one_line_with_one_object(omx_cluster):
    for words in (["up", "--masters", "1", "--replicas", "0"], ["status"], ["heal"], ["down"]):
        shown = omx_cluster(*words, "--json")
        assert shown.stdout.count("\n") == 1
        assert isinstance(json.loads(shown.stdout), dict)


def test_up_again_without_words_keeps_the_shape_that_the_cluster_has(omx_cluster):
    omx_cluster("up", "--masters", "1", "--replicas", "0")
    shown = omx_cluster("up", "--json")
    assert json.loads(shown.stdout)["masters"] == 1


def test_the_first_of_the_ports_can_be_chosen(omx_cluster):
    with reserved_ports(1) as (port,):
        words = ["--masters", "1", "--replicas", "0", "--port", str(port)]
        shown = omx_cluster("up", *words, "--json")
    assert json.loads(shown.stdout)["url"] == f"rediscluster://127.0.0.1:{port}"


@pytest.mark.parametrize("word", ["status", "down", "heal"])
def test_without_a_cluster_the_way_to_one_is_told(omx_cluster, word):
    shown = omx_cluster(word)
    assert isinstance(shown.exception, NotFoundError)
    assert "start one with `omx cluster up`" in str(shown.exception)


def test_down_with_delete_removes_it(omx_cluster, tmp_path):
    omx_cluster("up", "--masters", "1", "--replicas", "0")
    assert "and removed it" in omx_cluster("down", "--delete").output
    assert not (tmp_path / "omx" / "cluster").exists()
