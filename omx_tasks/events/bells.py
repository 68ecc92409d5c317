"""Hears that events were published: one link per master, a channel per partition, a slow look behind it.

Rings may be lost with a connection, so every subscription counts as a ring once it is confirmed (what is published
before that is not heard), and whoever listens looks now and then all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.link import Link
from omx_tasks.store.links import Links

#: Told of a partition and how many events of each priority came, or None where that is not known.
Rang = Callable[[int, Sequence[int] | None], None]


class Bells:
    """Lives in the thread that calls `listen`; ``rang`` is called there."""

    def __init__(self, store: Store, partitions: int, rang: Rang) -> None:
        self._rang = rang
        self._partitions = {keys.event_bell(number): number for number in range(partitions)}
        self._links = Links(
            store, attended=_nothing, confirmed=self._confirmed, heard=self._heard, dropped=_nothing
        )
        for channel in self._partitions:
            self._links.want(channel)

    def __repr__(self) -> str:
        return f"<Bells {self._links}>"

    def listen(self, seconds: float) -> None:
        """Take what has come; if there is nothing, wait so long."""
        self._links.upkeep()
        self._links.wait(seconds)

    def wake(self) -> None:
        """End the wait; from any thread."""
        self._links.wake()

    def close(self) -> None:
        """Close the links."""
        self._links.close()

    def _confirmed(self, channel: str) -> None:
        self._rang(self._partitions[channel], None)

    def _heard(self, channel: str, payload: bytes) -> None:
        counts = [int(count) for count in payload.split()]
        self._rang(self._partitions[channel], counts[: len(Priority)])


def _nothing(_link: Link | str) -> None:
    return None
