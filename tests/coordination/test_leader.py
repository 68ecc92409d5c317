"""One leads: the lease, its token, and what a term that is over still may do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from omx_tasks.coordination.leader import Leader, NotLeadingError
from omx_tasks.store import keys
from omx_tasks.store.client import Store

Make = Callable[..., Leader]


@pytest.fixture
def make(cluster_url: str, store: Store) -> Iterator[Make]:
    """Have nobody lead from before: who was killed in another test does until its lease ends."""
    store.command(keys.lease(), "DEL", keys.lease())
    leaders: list[Leader] = []

    def begin(name: str, lease: float = 30.0) -> Leader:
        leaders.append(Leader(lambda: Store(cluster_url), name, lease=lease))
        leaders[-1].beat("{}")
        return leaders[-1]

    yield begin
    for leader in leaders:
        leader.close()


def test_one_leads_and_the_next_one_at_once_when_it_stops(make: Make) -> None:
    first, second = make("first"), make("second")
    assert first.term is not None
    assert second.term is None
    token = first.term.token
    first.close()
    second.beat("{}")
    assert second.term is not None
    assert second.term.token > token


def test_a_leader_renews_with_the_token_that_it_has(make: Make) -> None:
    leader = make("first")
    term = leader.term
    leader.beat("{}")
    assert leader.term is term
    assert term is not None


def test_who_is_not_heard_leads_no_more_and_knows_it(
    make: Make, until: Callable[..., None]
) -> None:
    first = make("first", lease=2.0)
    term = first.term
    assert term is not None
    second = make("second")
    until(lambda: not term.holds)
    with pytest.raises(NotLeadingError):
        term.store.command("key", "SET", "key", 1)

    def takes() -> bool:
        second.beat("{}")
        return second.term is not None

    until(takes)
    first.beat("{}")
    assert first.term is None


def test_what_a_late_leader_writes_down_is_refused_by_the_store(
    make: Make, store: Store, until: Callable[..., None]
) -> None:
    """Also where it takes itself for the leader still."""
    first = make("first", lease=2.0)
    late = first.term
    assert late is not None
    late.extend(time.monotonic() + 60)
    late.keep("duty", "early")
    second = make("second")

    def takes() -> bool:
        second.beat("{}")
        return second.term is not None

    until(takes)
    assert late.holds
    with pytest.raises(NotLeadingError):
        late.keep("duty", "late")
    assert second.term is not None
    assert second.term.recall("duty") == "early"


def test_the_tokens_rise_where_the_lease_was_lost_with_its_node(make: Make, store: Store) -> None:
    first = make("first")
    assert first.term is not None
    store.command(keys.lease(), "DEL", keys.lease())
    second = make("second")
    assert second.term is not None
    assert second.term.token > first.term.token
    first.beat("{}")
    assert first.term is None


def test_without_a_cluster_a_leader_goes_on_and_leads_no_more(
    cluster_url: str, until: Callable[..., None]
) -> None:
    leader = Leader(lambda: Store(cluster_url), "cut off", lease=2.0)

    def leads() -> bool:
        leader.beat("{}")
        return leader.term is not None

    until(leads)
    leader._store.close()
    leader._store = Store("rediscluster://127.0.0.1:1", attempt=0.2)
    until(lambda: leader.beat("{}") and leader.term is None)
    assert leader.trouble
    leader._store = Store(cluster_url)
    until(leads)
    assert leader.trouble is None
    leader.close()
