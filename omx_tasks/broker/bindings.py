"""Which queues an exchange leads to: stored in the cluster, remembered for a while.

A publisher finds queues that other processes declared. What it read it believes for ten seconds, as long as that
leads somewhere; a miss is looked up anew. Queues that lapse when unused (those of remote control's replies) are marked:
a message for one that is gone is dropped with its binding, instead of making a queue that nobody reads.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from kombu.utils.json import dumps, loads

from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds for which a publisher believes the bindings that it read, while they lead somewhere.
FRESH = 10.0

#: Routing key, pattern (of a topic), queue.
Binding = tuple[str, str, str]


def binding_of(routing_key: str | None, pattern: Any, queue: str) -> Binding:
    """Return a binding as kombu's exchanges make it, in the form that is stored."""
    return routing_key or "", getattr(pattern, "pattern", pattern) or "", queue


class Bindings:
    """The bindings of one cluster's exchanges, for one connection."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._own: dict[str, set[str]] = defaultdict(set)
        self._tables: dict[str, tuple[float, list[Binding]]] = {}
        self._lapsing: set[str] = set()

    def add(self, exchange: str, binding: Binding, *, lapses: bool) -> None:
        """Store a binding; ``lapses`` says that its queue goes when it lies unused."""
        member = dumps([*binding, 1] if lapses else binding)
        self._own[exchange].add(member)
        self._change(exchange, "SADD", member)

    def remove(self, exchange: str, binding: Binding) -> None:
        """Forget a binding."""
        members = [dumps(binding), dumps([*binding, 1])]
        self._own[exchange].difference_update(members)
        self._change(exchange, "SREM", *members)

    def remove_exchange(self, exchange: str) -> None:
        """Forget all bindings of an exchange."""
        self._own.pop(exchange, None)
        self._change(exchange, "DEL")

    def lapses(self, queue: str) -> bool:
        """Whether a queue that was found by a binding goes when it lies unused."""
        return queue in self._lapsing

    def _change(self, exchange: str, command: str, *members: str) -> None:
        key = keys.bindings(exchange)
        self._store.command(key, command, key, *members)
        self._tables.pop(exchange, None)

    def read(self, exchange: str) -> list[Binding]:
        """Return an exchange's bindings as stored now; a table that got lost is stored again."""
        key = keys.bindings(exchange)
        members = self._store.command(key, "SMEMBERS", key)
        own = self._own.get(exchange)
        if own and not members:
            self._store.command(key, "SADD", key, *own)
            members = own
        rows = [loads(member) for member in members]
        self._lapsing.update(row[2] for row in rows if len(row) > 3)
        table: list[Binding] = [(row[0], row[1], row[2]) for row in rows]
        self._tables[exchange] = (time.monotonic() + FRESH, table)
        return table

    def recall(self, exchange: str, routing_key: str) -> list[str]:
        """Return the queues bound with exactly this key, from a table that is still fresh."""
        fresh_until, table = self._tables.get(exchange, (0.0, []))
        if time.monotonic() >= fresh_until:
            return []
        return [queue for key, _, queue in table if key == routing_key]
