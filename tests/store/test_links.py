from __future__ import annotations

from collections.abc import Callable, Iterator

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
        woken=lambda: None,
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
