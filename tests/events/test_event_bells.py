"""Bells: what rings when."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from omx_tasks.events.bells import Bells
from omx_tasks.store import keys
from omx_tasks.store.client import Store

Until = Callable[..., None]


def test_a_subscription_rings_when_nothing_can_be_missed_any_more(
    store: Store, until: Until
) -> None:
    """What is published after the look that this makes, and before the server subscribes, is not heard."""
    heard: list[bool] = []

    def rang(partition: int, counts: Sequence[int] | None) -> None:
        heard.append(keys.event_bell(partition) in bells._links._confirmed)

    bells = Bells(store, 3, rang)

    def listen() -> bool:
        bells.listen(0.01)
        return len(heard) == 3

    until(listen)
    bells.close()
    assert all(heard)
