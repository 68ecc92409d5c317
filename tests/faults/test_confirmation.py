"""A durable call is done when a replica has it, and a shard without one is told of and not waited for."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shard import Shard, ask, stalled, tell, wait_until

from omx_tasks.agents.wire import Wire
from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.durability import Durability, Promise, WithoutReplica
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.results import chords, joins
from omx_tasks.results.joins import Beginning, Ending, Outcome
from omx_tasks.store import keys, shards
from omx_tasks.store.client import Store
from omx_tasks.store.confirmer import REPLICA_MS, follows
from omx_tasks.store.courier import Courier
from omx_tasks.store.scripts import Call, Script, script
from omx_tasks.store.sender import Sender

DEBIAN = shutil.which("redis-server")
MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(cluster_url: str) -> Iterator[MakeStore]:
    made: list[Store] = []

    def make(
        durability: str = "replica", without_replica: str = "accept", timeout: float = 10.0
    ) -> Store:
        promise = Promise(Durability(durability), WithoutReplica(without_replica))
        made.append(Store(cluster_url, timeout=timeout, promise=promise))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def shard(cluster: EmbeddedCluster, queue: str) -> Shard:
    return Shard(cluster, queue)


def _publish(queue: str, name: str = "a") -> Call:
    return queues.publish(queue, [Posting(name, "x")])


def test_what_no_replica_has_is_not_acknowledged_and_may_be_stored(
    make_store: MakeStore, shard: Shard, queue: str
) -> None:
    store = make_store()
    store.run(_publish(queue, "before"))
    with stalled(shard.replica), pytest.raises(UnavailableError) as caught:
        store.run(_publish(queue), timeout=1.0)
    assert "may have been stored" in str(caught.value)
    assert f"no replica of 127.0.0.1:{shard.master.port}" in str(caught.value)
    assert sum(queues.read_stats(store.run(queues.stats(queue))).waiting) == 2


def test_the_same_call_is_sent_again_until_a_replica_has_it(
    make_store: MakeStore, shard: Shard, queue: str
) -> None:
    store = make_store()
    with stalled(shard.replica), pytest.raises(UnavailableError):
        store.run(_publish(queue), timeout=0.2)
    assert store.run(_publish(queue)) == [0, 1]


def test_memory_waits_for_no_replica(make_store: MakeStore, shard: Shard, queue: str) -> None:
    with stalled(shard.replica):
        assert make_store("memory").run(_publish(queue)) == [1, 0]


def _durable_calls(name: str) -> dict[str, Call]:
    """Every durable call, in the slot of the run ``name``."""
    operations = [
        Operation(id="a", server="s", tool="t"),
        Operation(id="b", server="s", tool="t", foreach="${a.structured}"),
        Operation(id="none", server="s", tool="t", foreach="${a.structured}"),
        Operation(id="c", server="s", tool="t"),
    ]
    plan = compile_plan(Graph(name="g", operations=operations))
    outcome = Outcome("succeeded", 1, "agent", 1.0, 2.0, None, json.dumps({"structured": [1]}))
    success = json.dumps({"status": "SUCCESS"})
    result, chord = (f"celery-task-meta-{{run:{name}}}{end}" for end in ("", ":chord"))
    return {
        "submit": joins.submit(name, plan, StoredPlan.of(plan, {}), keep=60),
        "start": joins.start(name, "agent", [Beginning("c", "token")], confirmed=True),
        "finish": joins.finish(name, [Ending("a", outcome, False)]),
        "start of what is over": joins.start(
            name, "agent", [Beginning("a", "late")], confirmed=True
        ),
        "expand": joins.expand(name, "b", [1, 2]),
        "expand to nothing": joins.expand(name, "none", []),
        "publish": _publish(f"run:{name}"),
        "partitions": queues.declare(f"run:{name}", partitions=3),
        "tell": Call(script("tell_1"), (result, result), (success, 60, 1, "none"), durable=True),
        "tell for ever": Call(
            script("tell_1"), (result, result), (success, 0, 1, "-"), durable=True
        ),
        "begin of a chord": chords.begin(chord, "run", keep=60),
        "added part": chords.add(chord, "added", "x"),
        "part": chords.count(chord, "part", 0),
        "over": chords.over(chord),
        "late part": chords.count(chord, "part", 0),
        "prepare": Call(script("prepare_1"), keys.run_keys(name), (60, "a", 0, "[]"), durable=True),
    }


def test_a_repeated_call_over_a_new_connection_is_confirmed_as_the_first_would_be(
    make_store: MakeStore, cluster: EmbeddedCluster, queue: str
) -> None:
    """It finds its work done, but not by a replica: servers count from what a connection wrote."""
    calls, shard = _durable_calls(queue), Shard(cluster, f"run:{queue}")
    _each(make_store(), calls)
    with stalled(shard.replica):
        assert [
            name for name in calls if _is_confirmed(make_store(timeout=0.05), calls[name])
        ] == []
    cancel = joins.cancel(queue)
    make_store().run(cancel)
    with stalled(shard.replica):
        assert not _is_confirmed(make_store(timeout=0.05), cancel)


def test_the_repeated_announcement_of_a_run_is_confirmed_as_the_first_would_be(
    make_store: MakeStore, cluster: EmbeddedCluster, queue: str
) -> None:
    announce = joins.announce(queue, 1.0)
    make_store().run(announce)
    with stalled(Shard(cluster, "runs").replica):
        assert not _is_confirmed(make_store(timeout=0.05), announce)


def _each(store: Store, calls: dict[str, Call]) -> None:
    for call in calls.values():
        store.run(call)


def _is_confirmed(store: Store, call: Call) -> bool:
    try:
        store.run(call)
    except UnavailableError:
        return False
    return True


def test_what_was_sent_without_waiting_is_confirmed_a_moment_later_or_sent_again(
    make_store: MakeStore, shard: Shard, queue: str
) -> None:
    lost: list[str] = []
    store = make_store()
    sender = Sender(store, lambda _call, error: lost.append(str(error)))
    for number in range(100):
        sender.send(_publish(queue, str(number)))
    assert sender.flush(60)
    with stalled(shard.replica):
        for number in range(100, 200):
            sender.send(_publish(queue, str(number)))
        assert not sender.flush(0.2)
    assert sender.flush(60)
    assert sum(queues.read_stats(store.run(queues.stats(queue))).waiting) == 200
    assert lost == []
    sender.close()


def test_what_was_not_confirmed_does_not_come_after_what_was_sent_later(
    make_store: MakeStore, shard: Shard, queue: str
) -> None:
    text = f"redis.call('SET', KEYS[1], ARGV[1]) -- {queue}"
    said, key = Script("said", text, "0" * 40), f"{{{queue}}}:said"
    store = make_store()
    sender = Sender(store, lambda _call, _error: None)
    with stalled(shard.replica):
        sender.send(Call(said, (key,), ("started",), durable=True))
        assert not sender.flush(0.1)
        sender.send(Call(said, (key,), ("failed",), durable=True))
    assert sender.flush(60)
    assert store.command(key, "GET", key) == b"failed"
    sender.close()


def test_an_agents_calls_are_answered_when_they_are_confirmed(
    make_store: MakeStore, shard: Shard, queue: str, until: Callable[..., None]
) -> None:
    store, loop = make_store(), LoopThread()
    courier = Courier(store).start()
    wire = Wire(store, courier)
    loop.start()

    async def on_loop(act: Callable[..., None], *arguments: object) -> None:
        act(*arguments)

    def send(call: Call) -> list[object]:
        answers: list[object] = []
        loop.run(on_loop(wire.send, call, answers.append), timeout=60)
        return answers

    loop.run(wire.open(), timeout=60)
    until(lambda: send(_publish(queue, "opens")) and wire._durable_links.of(shard.slot))
    with stalled(shard.replica):
        durable, other = send(_publish(queue)), send(queues.stats(queue))
        until(lambda: other)
        assert durable == []
    until(lambda: durable)
    assert durable in ([[1, 0]], [[0, 1]])
    loop.run(wire.close(), timeout=60)
    courier.stop()
    loop.stop()


@pytest.fixture
def lonely(cluster: EmbeddedCluster, shard: Shard) -> Iterator[Shard]:
    """A shard whose replica follows another master for a while."""
    tell(shard.replica, "CLUSTER", "REPLICATE", shard.other_master().id)
    wait_until(lambda: not ask(shard.master, "ROLE")[2])
    yield shard
    tell(shard.replica, "CLUSTER", "REPLICATE", shard.master.id)
    wait_until(cluster.is_ready)


def test_a_master_without_replica_is_taken_at_its_word_at_once_and_that_is_said_once(
    make_store: MakeStore, lonely: Shard, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store()
    with caplog.at_level(logging.WARNING, "omx_tasks.store.confirmer"):
        store.run(_publish(queue, "teaches the script"))
        before = store.confirmer.accepted.total()
        for number in range(5):
            assert store.run(_publish(queue, str(number)), timeout=REPLICA_MS / 1000) == [1, 0]
        assert store.confirmer.accepted.total() == before + 5
        assert "confirmed by it alone" in caplog.text
        found = shards.count(store)
        assert found == (1, 3, (store.topology.owner(lonely.slot),))
        tell(lonely.replica, "CLUSTER", "REPLICATE", lonely.master.id)
        wait_until(lambda: follows(ask(lonely.master, "ROLE")))
        store.run(_publish(queue, "followed"))
    assert [record.getMessage().split()[1:4] for record in caplog.records] == [
        ["has", "no", "replica:"],
        ["has", "a", "replica"],
    ]
    assert store.confirmer.accepted.total() == before + 5


def test_a_master_without_replica_is_refused_where_that_is_asked_for(
    make_store: MakeStore, lonely: Shard, queue: str
) -> None:
    store = make_store(without_replica="refuse", timeout=2.0)
    with pytest.raises(UnavailableError, match="has no replica"):
        store.run(_publish(queue))
    tell(lonely.replica, "CLUSTER", "REPLICATE", lonely.master.id)
    assert store.run(_publish(queue), timeout=60) == [0, 1]


def test_fsync_is_confirmed_by_both_disks(make_store: MakeStore, shard: Shard, queue: str) -> None:
    store = make_store("fsync")
    store.ping(5)
    assert store.run(_publish(queue)) == [1, 0]
    with stalled(shard.replica), pytest.raises(UnavailableError):
        store.run(_publish(queue, "b"), timeout=0.5)


def test_fsync_without_a_replica_is_confirmed_by_the_one_disk(
    make_store: MakeStore, lonely: Shard, queue: str
) -> None:
    store = make_store("fsync")
    assert store.run(_publish(queue)) == [1, 0]
    assert store.confirmer.accepted


@pytest.mark.skipif(DEBIAN is None, reason="this machine has no redis-server")
def test_fsync_is_refused_at_start_where_the_server_has_no_waitaof(tmp_path: Path) -> None:
    cluster = EmbeddedCluster(tmp_path / "old", server=DEBIAN)
    cluster.up(bound=True)
    store = Store(cluster.url(), promise=Promise(Durability.FSYNC))
    try:
        if b"WAITAOF" in str(ask(cluster.status().nodes[0], "COMMAND", "LIST")).encode().upper():
            pytest.skip("this redis-server has WAITAOF")
        with pytest.raises(ConfigurationError, match=r"Redis 7\.2 or Valkey"):
            store.ping(5)
        with pytest.raises(ConfigurationError, match="durability replica"):
            store.run(_publish("q"))
    finally:
        store.close()
        cluster.down(delete=True, timeout=2)


@pytest.mark.parametrize("options", [{"durability": "disk"}, {"without_replica": "accepted"}])
def test_an_option_that_is_none_is_refused_with_those_that_there_are(
    options: dict[str, str],
) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ConfigurationError, match=f"{name}='{value}': there are "):
        Promise.of(options)


@pytest.mark.parametrize("patient", [True, False])
def test_what_nobody_could_make_up_for_waits_until_a_full_memory_is_free_again(
    make_store: MakeStore, shard: Shard, queue: str, patient: bool
) -> None:
    store, key = make_store(), f"{{{queue}}}"
    call = Call(script("tell_1"), (key, key), ("x", 0, 0, "y"), durable=True, patient=patient)
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.extend(store.run_many([call])))
    refused = _refusals(shard)
    tell(shard.master, "CONFIG", "SET", "maxmemory", 1)
    asking.start()
    wait_until(lambda: _refusals(shard) > refused)
    tell(shard.master, "CONFIG", "SET", "maxmemory", 0)
    asking.join(60)
    assert [str(answer)[:3] for answer in answers] == ["1" if patient else "OOM"]


def _refusals(shard: Shard) -> int:
    """Count how often the shard's master has refused something for lack of memory."""
    lines = tell(shard.master, "INFO", "errorstats").decode().splitlines()
    found = [line for line in lines if line.startswith("errorstat_OOM:")]
    return int(found[0].rpartition("=")[2]) if found else 0
