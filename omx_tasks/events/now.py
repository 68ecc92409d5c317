"""Publishes at once, from the calling thread: for a process that has one thing to say and may end the next moment."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from omx_tasks.events import log, types
from omx_tasks.events.bus import Draft, entry_of
from omx_tasks.events.log import Entry, Keeping
from omx_tasks.settings import Settings
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.link import ReplyError


def publish_now(
    store: Store, given: Settings, drafts: Iterable[Draft], *, timeout: float | None = None
) -> list[str]:
    """Publish events and return their ids when all are stored; raises `OmxError` where that was not so.

    ``timeout``: seconds for which each request is tried, else the store's.
    """
    producer = secrets.token_hex(8)
    events = [types.make(f"{producer}-{number}", *draft) for number, draft in enumerate(drafts)]
    partitions = log.open_log(store, given.events_partitions, timeout=timeout)
    batches: dict[int, list[Entry]] = defaultdict(list)
    for event in events:
        batches[log.partition_of(event.key or event.id, partitions)].append(entry_of(event))
    unknown = sum(types.is_unknown(event.type) for event in events)
    calls = []
    for partition, entries in batches.items():
        call = log.publish(
            partition, producer, 1, entries, keeping=_keeping(given), unknown=unknown
        )
        calls.append(call)
        unknown = 0
    _stored(store.run_many(calls, timeout=timeout))
    return [event.id for event in events]


def publish_once(store: Store, given: Settings, drafts: Mapping[str, Draft]) -> int:
    """Publish events that were perhaps published before, each under a name that tells; return how many were new.

    A name is remembered for a day. Raises `OmxError` where not all are stored.
    """
    if not drafts:
        return 0
    partitions = log.open_log(store, given.events_partitions)
    calls = []
    for name, draft in drafts.items():
        event = types.make(name, *draft)
        partition = log.partition_of(event.key or event.id, partitions)
        calls.append(log.publish(partition, name, 1, [entry_of(event)], keeping=_keeping(given)))
    return sum(answer == b"stored" for answer in _stored(store.run_many(calls)))


def _keeping(given: Settings) -> Keeping:
    return Keeping(given.events_history, given.events_limit, given.events_patience)


def _stored(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, ReplyError):
            raise StoreError(f"an event could not be stored: {answer}")
        if answer == b"full":
            raise StoreError(
                "an event could not be stored: handlers are so far behind that the log is full"
            )
    return answers
