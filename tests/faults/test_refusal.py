"""What cannot be confirmed in time fails, with an error that says what may have been stored."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery
from fleet import Fleet
from kombu.exceptions import OperationalError
from shard import Shard, kill, stalled

from omx_tasks.broker import audit, queues
from omx_tasks.broker.many import GATHERED, publish_many
from omx_tasks.broker.pattern import TaskCall
from omx_tasks.broker.queues import Posting
from omx_tasks.broker.routing import queue_of
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.errors import NotFoundError, UnavailableError, UnconfirmedError
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import Plan, compile_plan
from omx_tasks.runs.submit import submit
from omx_tasks.runs.view import read
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.topology import slot_of

Until = Callable[..., None]
OMX = Path(sys.executable).with_name("omx")
#: Seconds that a request may take.
SHORT = 1.0
TASK = "refusal.note"


@pytest.fixture
def hasty(cluster_url: str) -> Iterator[Store]:
    """A client with little patience."""
    store = Store(cluster_url, timeout=SHORT)
    store.ping(5.0)
    yield store
    store.close()


@pytest.fixture
def app(cluster_url: str) -> Iterator[Celery]:
    with Celery("refusal", set_as_current=False) as app:
        app.conf.update(broker_url=cluster_url, broker_transport_options={"timeout": SHORT})
        yield app


# --- messages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retry", [False, True])
def test_a_message_that_is_not_confirmed_may_be_stored_and_is_stored_once(
    app: Celery, cluster: EmbeddedCluster, store: Store, queue: str, retry: bool
) -> None:
    app.send_task(TASK, queue=queue, ignore_result=True)
    with (
        stalled(Shard(cluster, queue).replica),
        pytest.raises(OperationalError, match="it may have been stored all the same"),
    ):
        app.send_task(TASK, queue=queue, ignore_result=True, retry=retry)
    assert audit.reports(store, [queue])[0].present == 2


def test_of_many_messages_those_that_are_stored_are_counted(
    app: Celery, cluster: EmbeddedCluster, store: Store, queue: str
) -> None:
    replica = Shard(cluster, queue).replica

    def calls() -> Iterator[TaskCall]:
        yield from [TaskCall()] * GATHERED
        with stalled(replica):
            yield from [TaskCall()] * GATHERED

    pattern = rf"^{GATHERED} messages are stored; then: .*may have been stored"
    with pytest.raises(OperationalError, match=pattern):
        publish_many(TASK, calls(), app=app, queue=queue, ignore_result=True)
    assert audit.reports(store, [queue])[0].present >= GATHERED


def test_what_was_not_even_sent_was_not_stored(slow_cluster: EmbeddedCluster, queue: str) -> None:
    store = Store(slow_cluster.url(), timeout=SHORT)
    store.run(queues.publish(queue, [Posting("before", "x")]))
    kill(Shard(slow_cluster, queue).master)
    store.close()
    with pytest.raises(UnavailableError, match="it was not stored") as caught:
        store.run(queues.publish(queue, [Posting("after", "x")]))
    assert not isinstance(caught.value, UnconfirmedError)


def test_a_master_that_hangs_costs_a_publisher_no_more_than_its_time(
    slow_cluster: EmbeddedCluster, queue: str
) -> None:
    store = Store(slow_cluster.url(), timeout=SHORT)
    store.run(queues.publish(queue, [Posting("before", "x")]), timeout=10.0)
    began = time.monotonic()
    with stalled(Shard(slow_cluster, queue).master), pytest.raises(UnconfirmedError):
        store.run(queues.publish(queue, [Posting("a", "x")]))
    assert time.monotonic() - began < 10, "its time, and that of a machine at its limits"
    store.close()


# --- runs -----------------------------------------------------------------------------------------------


def _plan(word: str) -> Plan:
    return compile_plan(
        Graph(name="g", operations=[Operation(id="a", server="s", tool="t", requires=[word])])
    )


def _word_in(store: Store, *, with_runs: bool) -> str:
    """Return a capability whose queue is in the shard of the list of runs, or is not."""
    runs = store.topology.owner(slot_of(keys.runs()))
    while True:
        word = f"test_{uuid.uuid4().hex}"
        queue = queue_of(_plan(word).steps["a"].capabilities)
        if (store.topology.owner(slot_of(keys.meta(queue))) == runs) == with_runs:
            return word


def _refused(store: Store, word: str, said: str) -> UnavailableError:
    """Submit until that is refused in these words: which shard a run is in is known when it has its id."""
    for _ in range(40):
        try:
            submit(store, _plan(word), {}, keep=60)
        except UnavailableError as error:
            if said in str(error):
                return error
    raise AssertionError(f"nothing was refused with {said!r}")


def _run_of(error: UnavailableError) -> str:
    found = re.match(r"run (\S+) ", str(error))
    assert found is not None
    return found[1]


def _shard_of_runs(cluster: EmbeddedCluster) -> Shard:
    """Return the shard of the list of runs: their keys have the tag that a queue of this name would have."""
    assert slot_of(keys.runs()) == slot_of(keys.meta("runs"))
    return Shard(cluster, "runs")


def _shard_without_runs(cluster: EmbeddedCluster) -> Shard:
    runs = _shard_of_runs(cluster).master
    shards = (Shard(cluster, f"probe-{number}") for number in range(64))
    return next(shard for shard in shards if shard.master.id != runs.id)


def test_a_run_that_could_not_be_announced_does_not_start(
    cluster: EmbeddedCluster, hasty: Store, store: Store
) -> None:
    with stalled(_shard_of_runs(cluster).replica):
        error = _refused(hasty, _word_in(hasty, with_runs=False), "does not start")
    assert not isinstance(error, UnconfirmedError)
    with pytest.raises(NotFoundError):
        read(store, _run_of(error))


def test_a_run_whose_submission_was_not_confirmed_may_be_there(
    cluster: EmbeddedCluster, hasty: Store, store: Store
) -> None:
    word = _word_in(hasty, with_runs=True)
    with stalled(_shard_without_runs(cluster).replica):
        error = _refused(hasty, word, "may have been stored, and goes on then")
    assert isinstance(error, UnconfirmedError)
    assert f"omx status {_run_of(error)}" in str(error)
    assert read(store, _run_of(error)).state == "running"


def test_a_run_whose_messages_were_not_confirmed_is_there_and_says_so(
    cluster: EmbeddedCluster, hasty: Store, store: Store
) -> None:
    word = _word_in(hasty, with_runs=False)
    queue = queue_of(_plan(word).steps["a"].capabilities)
    with stalled(Shard(cluster, queue).replica):
        error = _refused(hasty, word, "is stored, so do not submit it again")
    assert isinstance(error, UnconfirmedError)
    assert read(store, _run_of(error)).state == "running"


# --- the command line -----------------------------------------------------------------------------------


@pytest.fixture
def fleet(cluster_url: str, store: Store, tmp_path: Path, until: Until) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, cluster_url, store, until)
    yield fleet
    fleet.stop()


def _omx(fleet: Fleet, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **fleet.environ(4, 30.0), "OMX_REQUEST_TIMEOUT": "1"}
    return subprocess.run([OMX, *words], env=environ, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("options", [(), ("--detach",)])
def test_omx_run_says_what_became_of_a_run_that_was_not_confirmed(
    fleet: Fleet, cluster: EmbeddedCluster, tmp_path: Path, options: tuple[str, ...]
) -> None:
    fleet.start(4)
    graph = tmp_path / "graph.yaml"
    operation = {"id": "a", "server": fleet.ledger, "tool": "read", "arguments": {"key": "a"}}
    graph.write_text(repr({"name": "g", "operations": [operation]}))
    queue = queue_of([f"server:{fleet.ledger}"])
    with stalled(Shard(cluster, queue).replica):
        shown = _omx(fleet, "run", str(graph), *options)
    assert shown.stdout == ""
    assert re.search(r"run \S+ (does not start|may have been stored|is stored)", shown.stderr)
    assert shown.returncode == (2 if "does not start" in shown.stderr else 1)
