from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable

import pytest

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.errors import UnavailableError
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.link import Link, LinkError, ReplyError
from omx_tasks.store.scripts import Call, Script, script
from omx_tasks.store.topology import slot_of


def _link(store: Store, key: str) -> Link:
    store.ping(5)
    owner = store.topology.owner(slot_of(key))
    assert owner is not None
    return Link(owner, store.address).connect(5)


def test_keys_with_one_hash_tag_share_a_slot() -> None:
    assert slot_of("omx:{a}:x") == slot_of("omx:{a}:y") == slot_of("a")


def test_a_link_carries_many_requests_and_gives_the_answers_in_order(store: Store) -> None:
    link = _link(store, "order")
    answers = link.ask([("ECHO", str(i)) for i in range(1000)], time.monotonic() + 5)
    assert answers == [str(i).encode() for i in range(1000)]
    link.close()


def test_an_error_answer_is_a_value_in_its_place(store: Store) -> None:
    link = _link(store, "order")
    first, second, third = link.ask([("ECHO", "a"), ("FROB",), ("ECHO", "b")], time.monotonic() + 5)
    assert (first, third) == (b"a", b"b")
    assert isinstance(second, ReplyError)
    assert second.code == "ERR"
    link.close()


def test_a_link_that_gets_no_answer_in_time_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = Node("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(LinkError, match="no answer in time"):
            Link(node, Store(f"rediscluster://{node}").address).connect(0.1)


def test_a_node_that_refuses_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
        Store("rediscluster://127.0.0.1:1").ping(1)


def test_an_unreachable_cluster_fails_by_the_deadline_and_says_what_to_do() -> None:
    store = Store("rediscluster://127.0.0.1:1", timeout=0.3)
    before = time.monotonic()
    with pytest.raises(UnavailableError, match="omx up"):
        store.command("k", "GET", "k")
    assert time.monotonic() - before < 5


def test_a_final_refusal_is_raised_at_once(store: Store) -> None:
    with pytest.raises(StoreError, match="WRONGTYPE"):
        store.command("wrongtype", "SADD", "wrongtype", "x")
        store.command("wrongtype", "GET", "wrongtype")


def test_commands_for_all_slots_are_answered_in_the_order_asked(store: Store) -> None:
    names = [f"slots-{i}" for i in range(200)]
    store.commands([(name, ("SET", name, name)) for name in names])
    assert store.commands([(name, ("GET", name)) for name in names]) == [n.encode() for n in names]
    masters = {store.topology.owner(slot_of(name)) for name in names}
    assert len(masters) == 3


def test_a_request_to_the_wrong_master_is_sent_again_to_the_right_one(store: Store) -> None:
    store.ping(5)
    right = store.topology.owner(slot_of("astray"))
    wrong = next(node for node in store.topology.masters if node != right)
    store.topology.moved(slot_of("astray"), wrong)
    store.command("astray", "SET", "astray", "1")
    assert store.topology.owner(slot_of("astray")) == right


def test_a_script_that_the_server_forgot_is_sent_again_as_text(store: Store, queue: str) -> None:
    store.run(queues.publish(queue, [Posting("1", "x")]))
    for node in store.topology.masters:
        link = Link(node, store.address).connect(5)
        assert link.ask([("SCRIPT", "FLUSH")], time.monotonic() + 5) == [b"OK"]
        link.close()
    assert store.run(queues.publish(queue, [Posting("2", "x")])) == [1, 0]


def test_a_script_without_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        Call(script("stats_1"), ())


def test_a_link_that_broke_while_it_was_idle_is_replaced(store: Store) -> None:
    store.command("idle", "SET", "idle", "1")
    for links in store._links.values():
        for link in links:
            assert link._socket is not None
            link._socket.shutdown(socket.SHUT_RDWR)
    assert store.command("idle", "GET", "idle") == b"1"


def test_many_threads_share_one_store(store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(50):
                name = f"thread-{number}-{i}"
                store.command(name, "SET", name, i)
                assert store.command(name, "GET", name) == str(i).encode()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []


def test_a_hung_node_does_not_hold_up_the_answers_of_the_others(store: Store) -> None:
    """The hung node is a socket that accepts and never answers."""
    names: dict[Node | None, str] = {}
    store.ping(5)
    for i in range(100):
        names.setdefault(store.topology.owner(slot_of(f"k{i}")), f"k{i}")
    hung_name, *others = names.values()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = Node("127.0.0.1", silent.getsockname()[1])
        store.topology.moved(slot_of(hung_name), node)
        link = Link(node, store.address)
        link._socket = socket.create_connection(node)
        link._socket.setblocking(False)
        link.descriptor = link._socket.fileno()
        store.give(link)
        store.attempt = 0.3
        replies = store.commands([(name, ("ECHO", name)) for name in (hung_name, *others)])
    assert replies == [name.encode() for name in (hung_name, *others)]


def test_idle_links_to_nodes_without_slots_are_closed(store: Store) -> None:
    store.command("a", "ECHO", "a")
    node = store.topology.owner(slot_of("a"))
    assert node is not None
    (link,) = store._links[node]
    heir = next(other for other in store.topology.masters if other != node)
    owners = store.topology._ranges.owners
    owners[:] = [heir if owner == node else owner for owner in owners]
    store.topology.version += 1
    store.command("b", "ECHO", "b", timeout=5)
    assert link._socket is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_uses_links_of_its_own(store: Store) -> None:
    store.command("forked", "SET", "forked", "parent")
    store.topology._lock.acquire()  # as if another thread held it at the moment of the fork
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store.topology.moved(slot_of("forked"), Node("", 0))
            store.topology.version = 0
            store.command("forked", "SET", "forked", "child")
            os.write(writing, b"done")
        finally:
            os._exit(0)
    store.topology._lock.release()
    os.close(writing)
    assert os.read(reading, 10) == b"done"
    os.close(reading)
    os.waitpid(child, 0)
    assert store.command("forked", "GET", "forked") == b"child"


def test_requests_ride_through_a_planned_failover(
    cluster: EmbeddedCluster, store: Store, queue: str, until: Callable[..., None]
) -> None:
    store.run(queues.publish(queue, [Posting("before", "x")]))
    owner = store.topology.owner(slot_of(queue))
    until(lambda: _replicas_of(store, owner))  # it may have been struck a moment ago
    replica = _replicas_of(store, owner)[0]
    link = Link(replica, store.address).connect(5)
    assert link.ask([("CLUSTER", "FAILOVER")], time.monotonic() + 5) == [b"OK"]
    link.close()
    done = 0
    deadline = time.monotonic() + 20
    while store.topology.owner(slot_of(queue)) != replica:
        done += 1
        assert sum(store.run(queues.publish(queue, [Posting(f"{done}", "x")]))) == 1
        assert time.monotonic() < deadline
    stats = queues.read_stats(store.run(queues.stats(queue)))
    assert sum(stats.waiting) == done + 1


def _replicas_of(store: Store, owner: Node | None) -> list[Node]:
    by_master: dict[Node, list[Node]] = defaultdict(list)
    link = Link(store.address.seeds[0], store.address).connect(5)
    (table,) = link.ask([("CLUSTER", "SLOTS")], time.monotonic() + 5)
    link.close()
    for _, _, master, *replicas in table:
        for host, port, *_ in replicas:
            by_master[Node(master[0].decode(), master[1])].append(Node(host.decode(), port))
    assert owner is not None
    return by_master[owner]


def test_a_script_that_was_taught_is_known_to_all_masters(store: Store) -> None:
    store.ping(5)
    mine = Script(
        "mine", text := f"return {time.time_ns()}", hashlib.sha1(text.encode()).hexdigest()
    )
    store.teach([mine])
    for node in store.topology.masters:
        link = Link(node, store.address).connect(5)
        assert link.ask([("SCRIPT", "EXISTS", mine.digest)], time.monotonic() + 5) == [[1]]
        link.close()


def test_a_script_that_cannot_be_taught_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match="compiling"):
        store.teach([Script("wrong", "return (", "")])
