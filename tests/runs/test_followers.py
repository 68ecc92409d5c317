"""Many runs are followed by one thread, and one whose shard is away holds up no other."""

from __future__ import annotations

import queue
from typing import Any

from driven import Drive, operation

from omx_tasks.errors import NotFoundError, UnavailableError
from omx_tasks.runs.followers import Followers
from omx_tasks.store import keys
from omx_tasks.store.address import Node
from omx_tasks.store.client import Store
from omx_tasks.store.topology import slot_of


def _slot(run_id: str) -> int:
    return slot_of(keys.run(run_id))


def _until_the_end(told: queue.Queue[Any]) -> tuple[list[str], Any]:
    """Return the states that were told, and the last word."""
    states: list[str] = []
    while isinstance(news := told.get(timeout=60), list):
        states += [change.state for change in news]
    return states, news


def test_a_run_whose_shard_is_away_holds_up_no_other_and_is_told_in_time(
    drive: Drive, store: Store, cluster_url: str
) -> None:
    away, *others = [drive(operation("a")) for _ in range(8)]
    hasty = Store(cluster_url, timeout=4.0)
    hasty.ping(5)
    dead = hasty.topology.owner(_slot(away.id))
    others = [run for run in others if hasty.topology.owner(_slot(run.id)) != dead]
    hasty.topology.refresh = lambda timeout: None  # type: ignore[method-assign]
    hasty.topology.moved(_slot(away.id), Node("127.0.0.1", 1))
    followers, ends = Followers(hasty), {run.id: queue.Queue[Any]() for run in [away, *others]}
    for run_id, told in ends.items():
        followers.follow(run_id, told.put)
    for run in others:
        run.do("a")
        assert _until_the_end(ends[run.id])[1] is None
    assert ends[away.id].empty()
    assert isinstance(_until_the_end(ends[away.id])[1], UnavailableError)
    followers.stop()
    hasty.close()


def test_who_follows_has_all_changes_and_the_end_and_no_run_is_an_error(
    drive: Drive, store: Store
) -> None:
    run, told, nothing = drive(operation("a")), queue.Queue[Any](), queue.Queue[Any]()
    followers = Followers(store)
    followers.follow(run.id, told.put)
    followers.follow("nix", nothing.put)
    run.do("a")
    assert _until_the_end(told) == (["running", "running", "succeeded", "succeeded"], None)
    assert isinstance(nothing.get(timeout=60), NotFoundError)
    followers.stop()
