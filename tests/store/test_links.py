from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from omx_tasks.store.client import Store
from omx_tasks.store.link import Link
from omx_tasks.store.links import Links

Until = Callable[..., None]


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
def links(store: Store, heard: list[bytes]) -> Iterator[Links]:
    store.ping(5)
    links = Links(
        store,
        attended=lambda _channel: None,
        heard=lambda _channel, payload: heard.append(payload),
        dropped=lambda _link: None,
    )
    yield links
    links.close()


def _drive(links: Links, condition: Callable[[], object], until: Until) -> None:
    def step() -> object:
        links.upkeep()
        links.wait(0.01)
        return condition()

    until(step)


def _confirmed(links: Links, channel: str) -> bool:
    link = links._subscribed.get(channel)
    return link is not None and not link.waiting


def test_a_channel_that_is_wanted_is_heard(
    links: Links, store: Store, heard: list[bytes], queue: str, until: Until
) -> None:
    links.want(queue)
    _drive(links, lambda: _confirmed(links, queue), until)
    store.command(queue, "SPUBLISH", queue, "hello")
    _drive(links, lambda: heard == [b"hello"], until)


def test_what_is_put_leaves_together_with_the_flush_of_its_owner(
    links: Links, queue: str, until: Until
) -> None:
    links.want(queue)
    _drive(links, lambda: _confirmed(links, queue), until)
    link, answers = links._subscribed[queue], list[object]()
    link.put(("PING",), answers.append)
    links.upkeep()
    links.wait(0.05)
    assert answers == []
    link.put(("ECHO", "x"), answers.append)
    link.flush()
    _drive(links, lambda: answers == [b"PONG", b"x"], until)


def test_a_channel_that_is_no_longer_wanted_is_not_heard(
    links: Links, store: Store, heard: list[bytes], queue: str, until: Until
) -> None:
    links.want(queue)
    _drive(links, lambda: _confirmed(links, queue), until)
    links.unwant(queue)
    store.command(queue, "SPUBLISH", queue, "hello")
    link = next(iter(links._links.values()))
    _drive(links, lambda: not link.waiting, until)
    assert heard == []


def test_a_subscription_at_the_wrong_master_moves_to_the_right_one_and_is_heard_once(
    links: Links, store: Store, heard: list[bytes], queue: str, until: Until
) -> None:
    links.want(queue)
    (slot,) = links._wanted.values()
    right = store.topology.owner(slot)
    wrong = next(node for node in store.topology.masters if node != right)
    store.topology.moved(slot, wrong)
    _drive(links, lambda: _confirmed(links, queue) and store.topology.owner(slot) == right, until)
    _drive(links, lambda: links._subscribed[queue].node == right, until)
    _drive(links, lambda: _confirmed(links, queue), until)
    store.command(queue, "SPUBLISH", queue, "once")
    _drive(links, lambda: heard, until)
    assert heard == [b"once"]


def test_a_link_that_arrives_after_the_end_is_closed(links: Links, store: Store) -> None:
    node = store.topology.masters[0]
    late, too_late = (Link(node, store.address).connect(5) for _ in range(2))
    links._arrived(node, late)
    links.close()
    links._arrived(node, too_late)
    assert late._socket is None
    assert too_late._socket is None


@pytest.fixture
def advance(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move the links' clock on by so many seconds."""
    ahead = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(ahead))
    monkeypatch.setattr("omx_tasks.store.links.time", clock)
    monkeypatch.setattr("omx_tasks.store.link.time", clock)
    return ahead.append


def _link_that_owes_an_answer(links: Links, channel: str, until: Until) -> Link:
    links.want(channel)
    _drive(links, lambda: _confirmed(links, channel), until)
    link = links._subscribed[channel]
    link.post(("PING",), lambda _reply: None)
    return link


def test_a_link_that_nobody_read_for_a_while_is_not_taken_for_a_silent_node(
    advance: Callable[[float], None], links: Links, queue: str, until: Until
) -> None:
    """So a connection lies unused in a pool, or a worker waits for its tasks to end."""
    link = _link_that_owes_an_answer(links, queue, until)
    advance(60)
    links.upkeep()
    assert links._subscribed[queue] is link
    assert link._socket is not None


def test_a_node_that_is_silent_while_it_is_listened_to_is_given_up(
    advance: Callable[[float], None], links: Links, queue: str, until: Until
) -> None:
    link = _link_that_owes_an_answer(links, queue, until)
    for _ in range(16):
        advance(0.5)
        links.upkeep()
    assert link._socket is None
