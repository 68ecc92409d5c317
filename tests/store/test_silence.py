"""A node that says nothing: left as soon as another one has its slots, waited for as long as none has."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.runs import follow
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store
from omx_tasks.store.confirmer import REPLICA_MS
from omx_tasks.store.link import DOUBT
from omx_tasks.store.links import Links
from omx_tasks.store.sender import Sender
from omx_tasks.store.topology import slot_of

#: Seconds of a request, and of one attempt: a node that is silent for all of one costs the request.
TIMEOUT, ATTEMPT = 10.0, 60.0


@pytest.fixture
def patient(cluster_url: str) -> Iterator[Store]:
    store = Store(cluster_url, timeout=TIMEOUT, attempt=ATTEMPT)
    store.ping(5)
    yield store
    store.close()


@pytest.fixture
def silent() -> Iterator[Node]:
    """A node that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Node("127.0.0.1", listening.getsockname()[1])


def test_a_hung_node_is_left_as_soon_as_its_slots_are_elsewhere(
    patient: Store, silent: Node, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omx_tasks.store.client.CONNECT", ATTEMPT)
    patient.topology.moved(slot_of(queue), silent)
    assert patient.command(queue, "ECHO", "here") == b"here"


def test_who_has_a_server_wait_for_something_does_not_doubt_it() -> None:
    assert max(follow.BLOCK, REPLICA_MS / 1000) < DOUBT


def test_a_busy_node_is_waited_for_and_its_link_is_kept(patient: Store, queue: str) -> None:
    patient.command(queue, "ECHO", "connected")
    node = patient.topology.owner(slot_of(queue))
    assert node is not None
    (link,) = patient._links[node]
    assert patient.command(queue, "BLPOP", queue, 2 * DOUBT) is None
    assert list(patient._links[node]) == [link]


def test_a_silent_node_counts_as_gone_only_when_another_one_says_so(
    patient: Store, silent: Node
) -> None:
    master = patient.topology.masters[0]
    assert patient.topology.serves(master, 5)
    assert not patient.topology.serves(silent, 5)
    patient.topology._known = (master, silent)
    assert patient.topology.serves(master, 0.05)


def test_a_consumer_leaves_a_hung_node_as_soon_as_its_slots_are_elsewhere(
    patient: Store, queue: str
) -> None:
    links = Links(
        patient,
        attended=lambda _: None,
        heard=lambda *_: None,
        dropped=lambda link: gone.append(link),
    )
    gone: list[object] = []
    links.want(queue)
    assert links.wait_until_heard(queue, 60)
    link = links.of(slot_of(queue))
    assert link is not None
    link.post(("PING",), lambda _reply: None)
    link.silent_since = time.monotonic() - 2 * DOUBT
    links._next_round = 0.0
    links._listen_for_silence(time.monotonic())
    assert gone == []
    heir = next(node for node in patient.topology.masters if node != link.node)
    owners = patient.topology._ranges.owners
    owners[:] = [heir if owner == link.node else owner for owner in owners]
    links._next_round = 0.0
    links._listen_for_silence(time.monotonic())
    assert gone == [link]
    links.close()


def test_what_was_sent_to_a_hung_node_is_sent_again_as_soon_as_its_slots_are_elsewhere(
    patient: Store, silent: Node, queue: str
) -> None:
    lost: list[object] = []
    sender = Sender(patient, lambda call, _error: lost.append(call))
    sender.send(queues.publish(queue, [Posting("1", "x")]))
    assert sender.flush(60)
    sender.send(queues.publish(queue, [Posting("2", "x")]))
    (lane,) = sender._lanes.values()
    link, node = lane.link, lane.link.node
    link._read_chunk = lambda: b""  # type: ignore[method-assign]
    link.silent_since = time.monotonic() - 2 * DOUBT
    link.node = silent  # what others do not know has no slots
    sender._lanes = {silent: sender._lanes.pop(node)}
    sender._look()
    assert sender._lanes == {}
    assert sender.flush(60)
    assert sum(queues.read_stats(patient.run(queues.stats(queue))).waiting) == 2
    assert lost == []
    sender.close()


def test_a_consumer_closes_what_it_needs_no_more(patient: Store, queue: str) -> None:
    links = Links(patient, attended=lambda _: None, heard=lambda *_: None, dropped=lambda _: None)
    links.want(queue)
    assert links.wait_until_heard(queue, 60)
    link = links.of(slot_of(queue))
    assert link is not None
    links.unwant(queue)
    link.settle(time.monotonic() + 5)
    owners = patient.topology._ranges.owners
    owners[:] = [owner if owner != link.node else None for owner in owners]
    links._next_round = links._next_question = 0.0
    links._listen_for_silence(time.monotonic())
    assert link._socket is None
    links.close()
