"""What an agent offers, and which queues follow from it: not those of servers that it cannot, or need not, call now."""

from __future__ import annotations

from collections.abc import Iterable

from omx_tasks.broker.routing import set_name, words_of
from omx_tasks.graph.operation import SERVER


class Capabilities:
    """The servers of one agent, and the words of its template."""

    def __init__(self, servers: Iterable[str], words: Iterable[str] = ()) -> None:
        self._servers = frozenset(SERVER + name for name in servers)
        self._words = frozenset(words)
        self._alone: frozenset[str] = frozenset()
        #: Servers whose operations wait.
        self.paused: frozenset[str] = frozenset()
        #: Servers whose operations are left to agents on which they are warm.
        self.left: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<Capabilities {sorted(self._servers)} and {len(self._words)} words>"

    def offer(self, words: Iterable[str]) -> None:
        """Offer these words besides, each of which is a set by itself."""
        self._alone = frozenset(words)

    def covers(self, capability_set: str) -> bool:
        """Whether all words of a set are offered."""
        return words_of(capability_set) <= self._callable | self._words | self._alone

    def own_sets(self) -> list[str]:
        """Return the sets of one word each that are served without being asked for: servers, and what is its own."""
        return sorted(set_name([word]) for word in self._callable | self._alone)

    @property
    def _callable(self) -> frozenset[str]:
        return self._servers - {SERVER + name for name in self.paused | self.left}
