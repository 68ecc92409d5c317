"""A module with handlers, to be found."""

from __future__ import annotations

from omx_tasks.events.handlers import on
from omx_tasks.events.types import Event


@on("order.paid", "order.*")
def ship(event: Event) -> None:
    """Ship what was paid."""


@on("*", batch=10, priority=[1, 0])
def count(events: list[Event]) -> None:
    """Count everything."""
