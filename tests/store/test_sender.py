from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, Script, script
from omx_tasks.store.sender import MANY, SILENCE, Sender
from omx_tasks.store.topology import slot_of

Until = Callable[..., None]


@pytest.fixture
def lost() -> list[str]:
    return []


@pytest.fixture
def sender(store: Store, lost: list[str]) -> Iterator[Sender]:
    sender = Sender(store, lambda _call, error: lost.append(str(error)))
    yield sender
    sender.close()


def _publish(queue: str, name: str) -> Call:
    return queues.publish(queue, [Posting(name, "x")])


def _waiting(store: Store, queue: str) -> int:
    return sum(queues.read_stats(store.run(queues.stats(queue))).waiting)


def test_what_is_flushed_is_stored(sender: Sender, store: Store, queue: str) -> None:
    for number in range(3 * MANY):
        sender.send(_publish(queue, str(number)))
    assert sender.flush(60)
    assert _waiting(store, queue) == 3 * MANY
    assert repr(sender) == "<Sender on_its_way=0>"


def test_answers_are_taken_without_another_call(sender: Sender, queue: str, until: Until) -> None:
    sender.send(_publish(queue, "1"))
    until(lambda: repr(sender) == "<Sender on_its_way=0>")


def test_a_sender_that_is_killed_has_sent(store: Store, queue: str) -> None:
    sender = Sender(store, lambda *_: None)
    sender.send(_publish(queue, "of the parent"))
    child = os.fork()
    if child == 0:
        for number in range(5):
            sender.send(_publish(queue, str(number)))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert sender.flush(60)
    assert _waiting(store, queue) == 6
    sender.close()


def test_what_a_broken_link_did_not_answer_is_sent_again(
    sender: Sender, store: Store, queue: str
) -> None:
    sender.send(_publish(queue, "first"))
    (lane,) = sender._lanes.values()
    lane.link._socket.shutdown(2)  # type: ignore[union-attr]
    for name in ("second", "third"):
        sender.send(_publish(queue, name))
    assert sender.flush(60)
    assert _waiting(store, queue) == 3


def test_a_call_that_is_larger_than_what_the_system_takes_over_has_been_sent(
    sender: Sender, store: Store, queue: str
) -> None:
    sender.send(queues.publish(queue, [Posting("large", "x" * 50_000_000)]))
    assert not any(lane.link.unsent for lane in sender._lanes.values())
    assert sender.flush(60)
    assert _waiting(store, queue) == 1


def test_what_is_carried_again_does_not_come_after_what_was_sent_later(
    sender: Sender, store: Store, queue: str
) -> None:
    said = Script("said", f"return redis.call('SET', KEYS[1], ARGV[1]) -- {queue}", "0" * 40)
    key = f"{{{queue}}}:said"
    gate = threading.Event()
    sender.send(queues.stats(queue))
    assert sender.flush(60)
    sender._courier.send(_publish(queue, "1"), lambda _: gate.wait(60) and None)
    (lane,) = sender._lanes.values()
    lane.link._socket.shutdown(2)  # type: ignore[union-attr]
    sender.send(Call(said, (key,), ("started",)))
    sender.send(Call(said, (key,), ("failed",)))
    gate.set()
    assert sender.flush(60)
    assert store.command(key, "GET", key) == b"failed"


def test_what_was_refused_does_not_come_after_what_was_not(
    sender: Sender, store: Store, queue: str
) -> None:
    text = f"""
        if redis.call('INCR', KEYS[2]) == 1 then return redis.error_reply('TRYAGAIN') end
        return redis.call('SET', KEYS[1], ARGV[1]) -- {queue}"""
    said, key = Script("said", text, "0" * 40), f"{{{queue}}}:said"
    for word in ("started", "failed"):
        sender.send(Call(said, (key, f"{key}:times"), (word,)))
    assert sender.flush(60)
    assert store.command(key, "GET", key) == b"failed"


def test_a_link_that_breaks_after_a_long_silence_is_looked_at_once(
    sender: Sender, store: Store, queue: str
) -> None:
    sender.send(queues.stats(queue))
    assert sender.flush(60)
    (lane,) = sender._lanes.values()
    link = lane.link
    link._socket.shutdown(2)  # type: ignore[union-attr]
    link._expect(lambda _reply: None)
    link.silent_since = time.monotonic() - SILENCE - 1
    assert list(sender._look()) == []
    sender.send(_publish(queue, "1"))
    assert sender.flush(60)
    assert _waiting(store, queue) == 1


def test_a_call_for_the_wrong_node_finds_the_right_one(
    sender: Sender, store: Store, queue: str
) -> None:
    sender.send(_publish(queue, "first"))
    assert sender.flush(60)
    slot = slot_of(f"{{{queue}}}")
    others = {store.topology.owner(s) for s in range(0, 16384, 512)} - {store.topology.owner(slot)}
    wrong = next(node for node in others if isinstance(node, Node))
    store.topology.moved(slot, wrong)
    sender.send(_publish(queue, "second"))
    assert sender.flush(60)
    assert _waiting(store, queue) == 2


def test_a_script_that_a_node_does_not_know_is_taught(
    sender: Sender, store: Store, queue: str
) -> None:
    text = f"{script('publish_1').text}\n-- {queue}"
    new = Script("new", text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    known = _publish(queue, "1")
    sender.send(Call(new, known.keys, known.arguments))
    assert sender.flush(60)
    assert _waiting(store, queue) == 1


def test_a_refusal_is_told(sender: Sender, queue: str, lost: list[str]) -> None:
    call = _publish(queue, "1")
    sender.send(Call(call.script, call.keys, ("too", "few")))
    assert sender.flush(60)
    assert len(lost) == 1
    assert "refused" in lost[0] or "ERR" in lost[0]


def test_without_a_cluster_the_loss_is_told(lost: list[str], queue: str, until: Until) -> None:
    store = Store("rediscluster://127.0.0.1:1", timeout=0.5)
    sender = Sender(store, lambda _call, error: lost.append(str(error)))
    sender.send(_publish(queue, "1"))
    until(lambda: lost)
    sender.close()
