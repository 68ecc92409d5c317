"""What a master is asked after durable calls, and what its answers mean. With real replicas: ``tests/faults``."""

from __future__ import annotations

from typing import Any

import pytest

from omx_tasks.durability import Durability, Promise, WithoutReplica
from omx_tasks.errors import ConfigurationError
from omx_tasks.store.confirmer import ROLE, Confirmer
from omx_tasks.store.link import ReplyError
from omx_tasks.store.node import Node
from omx_tasks.store.shards import Shards

NODE = Node("127.0.0.1", 7000)
WAIT = ("WAIT", 1, 500)
FOLLOWED = [b"master", 300, [[b"127.0.0.1", b"7003", b"290"]]]
LOADING = [b"master", 300, [[b"127.0.0.1", b"7003", b"0"]]]
ALONE = [b"master", 300, []]
REPLICA = [b"slave", b"127.0.0.1", 7003, b"connected", 300]


def _confirmer(durability: str = "replica", without_replica: str = "accept") -> Confirmer:
    return Confirmer(Promise(Durability(durability), WithoutReplica(without_replica)))


def _ask(confirmer: Confirmer, *answers: Any) -> list[Any]:
    """Return what is asked, answer by answer, and the verdict."""
    asked = [confirmer.command(NODE)]
    for answer in answers:
        asked.append(confirmer.judge(NODE, asked[-1], answer))
    return asked


def test_a_master_is_asked_for_its_replicas_once_and_then_only_waited_for() -> None:
    confirmer = _confirmer()
    assert _ask(confirmer, FOLLOWED, 1) == [ROLE, WAIT, True]
    assert _ask(confirmer, 1) == [WAIT, True]


def test_a_replica_that_is_there_and_silent_confirms_nothing() -> None:
    confirmer = _confirmer()
    assert _ask(confirmer, FOLLOWED, 0, FOLLOWED) == [ROLE, WAIT, ROLE, False]
    assert "no replica of 127.0.0.1:7000 confirmed it" in confirmer.why_not(NODE)


def test_a_replica_that_went_is_noticed_and_no_more_waited_for_until_it_is_back() -> None:
    confirmer = _confirmer()
    assert _ask(confirmer, FOLLOWED, 0, ALONE) == [ROLE, WAIT, ROLE, True]
    assert _ask(confirmer, ALONE) == [ROLE, True]
    assert _ask(confirmer, FOLLOWED, 1) == [ROLE, WAIT, True]
    assert (confirmer.accepted, confirmer.alone) == ({NODE: 2}, set())


def test_a_replica_that_still_loads_is_waited_for_once() -> None:
    confirmer = _confirmer()
    assert _ask(confirmer, LOADING, 0, LOADING) == [ROLE, WAIT, ROLE, True]
    assert _ask(confirmer, LOADING) == [ROLE, True]
    assert _ask(confirmer, FOLLOWED, 1) == [ROLE, WAIT, True]


def test_the_first_write_of_a_new_cluster_is_confirmed_by_the_replica() -> None:
    assert _ask(_confirmer(), LOADING, 1) == [ROLE, WAIT, True]


def test_without_a_replica_all_is_refused_where_that_is_asked_for() -> None:
    confirmer = _confirmer(without_replica="refuse")
    assert _ask(confirmer, ALONE) == [ROLE, False]
    assert "has no replica" in confirmer.why_not(NODE)


def test_fsync_waits_for_both_disks_or_for_the_only_one() -> None:
    confirmer = _confirmer("fsync")
    both, one = ("WAITAOF", 1, 1, 1500), ("WAITAOF", 1, 0, 1500)
    assert _ask(confirmer, FOLLOWED, [1, 1]) == [ROLE, both, True]
    assert _ask(confirmer, [1, 0], FOLLOWED) == [both, ROLE, False]
    assert _ask(confirmer, [1, 0], ALONE, [1, 0]) == [both, ROLE, one, True]
    assert _ask(confirmer, ALONE, [0, 0]) == [ROLE, one, False]


def test_a_master_that_became_a_replica_confirms_nothing_and_is_asked_anew() -> None:
    confirmer = _confirmer()
    assert _ask(confirmer, FOLLOWED, ReplyError("UNBLOCKED force unblock")) == [ROLE, WAIT, False]
    assert _ask(confirmer, 0, REPLICA) == [WAIT, ROLE, False]
    assert confirmer.command(NODE) == ROLE


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            "NOPERM this user has no permissions to run the 'role' command",
            "may not use WAIT and ROLE",
        ),
        ("ERR unknown command 'WAITAOF', with args beginning with", r"Redis 7\.2 or Valkey"),
    ],
)
def test_what_will_never_be_confirmed_is_an_error_that_says_what_to_do(
    answer: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        _ask(_confirmer("fsync"), ReplyError(answer))


@pytest.mark.parametrize(
    ("shards", "promise", "told"),
    [
        (Shards(0, 3), Promise(), ""),
        (Shards(1, 3), Promise(), "1 of 3 shards without replica; confirmed by the master alone"),
        (
            Shards(2, 3),
            Promise(without_replica=WithoutReplica.REFUSE),
            "2 of 3 shards without replica; writes to them are refused",
        ),
        (
            Shards(3, 3),
            Promise(Durability.MEMORY),
            "3 of 3 shards without replica; what they store has no copy",
        ),
    ],
)
def test_shards_without_a_replica_are_told_with_what_follows(
    shards: Shards, promise: Promise, told: str
) -> None:
    assert shards.told(promise) == told
