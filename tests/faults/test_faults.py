"""What was acknowledged is handled, whatever befalls the cluster, and nobody is restarted. In full: ``make faults``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import PADDING, Fault, NotHereError, cluster_for, commit
from load import loaded
from shard import Cluster

from omx_tasks.cluster.embedded import EmbeddedCluster

NODE_TIMEOUT = 0.5
ALWAYS = {Fault.STALLED_THEN_KILLED, Fault.FAILOVER, Fault.SLOT_MIGRATED, Fault.MEMORY_FULL}
ALL = bool(os.environ.get("ALL_FAULTS"))


@pytest.fixture(scope="module")
def struck_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    folder = tmp_path_factory.mktemp("struck") / "nodes"
    cluster = EmbeddedCluster(folder, node_timeout_ms=round(NODE_TIMEOUT * 1000))
    cluster.up(bound=True)
    yield cluster
    cluster.down(delete=True, timeout=2)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            fault,
            id=fault.name.lower(),
            marks=[] if fault in ALWAYS else pytest.mark.skipif(not ALL, reason="make faults"),
        )
        for fault in Fault
    ],
)
def test_what_was_acknowledged_is_handled_and_nothing_is_stuck(
    fault: Fault, struck_cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    padding, folder = PADDING.get(fault, 0), tmp_path / f"load-{fault.name.lower()}"
    try:
        with (
            _cluster(fault, tmp_path, struck_cluster) as cluster,
            loaded(cluster, folder, padding=padding) as load,
        ):
            load.grow(100)
            since = time.monotonic()
            with commit(fault, cluster, load.struck):
                pass
            load.grow(100)
            outcome = load.finish(since)
    except NotHereError as error:
        pytest.skip(str(error))

    assert outcome.acknowledged >= 400
    assert (outcome.lost, outcome.left, outcome.restarted) == (0, 0, 0), outcome
    if fault is not Fault.MEMORY_FULL:
        assert outcome.refused == 0, outcome


@contextmanager
def _cluster(fault: Fault, folder: Path, usual: EmbeddedCluster) -> Iterator[Cluster]:
    """Give the usual cluster, or one of its own where a fault needs another kind."""
    wanted = cluster_for(fault, folder / "cluster", round(NODE_TIMEOUT * 1000), None)
    if isinstance(wanted, EmbeddedCluster):
        yield usual
        return
    try:
        wanted.up()
        yield wanted
    finally:
        wanted.down()
