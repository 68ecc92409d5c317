"""The duties about queues: what nobody polls is brought up to date, backlogs and dead messages are told, old ones go.

Whoever claims from a queue brings it up to date: messages whose worker died wait again, or are dead. Where nobody does,
since no agent that is up has the server, it is done here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omx_tasks.broker import audit, partitions, queues
from omx_tasks.broker.audit import QueueReport
from omx_tasks.broker.routing import PREFIX
from omx_tasks.coordination.leader import Term
from omx_tasks.events.bus import Draft
from omx_tasks.events.now import publish_now
from omx_tasks.settings import Settings
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.link import ReplyError

NAME = "queues"
#: Seconds after which messages wait for long where nobody consumes the queue.
UNSERVED = 10.0
#: Seconds for which a queue of operations is unused until it is deleted.
UNUSED = 86_400.0


class QueuesDuty:
    """The duty `NAME`."""

    def __init__(self, given: Settings) -> None:
        self._given = given

    def __call__(self, term: Term) -> str | None:
        """Look at every queue once."""
        found = [report for report in audit.reports(term.store) if not report.is_internal]
        before = term.recall(NAME) or {"late": [], "dead": {}}
        drafts = [*_repaired(term.store, found, self._given)]
        late = [one.name for one in found if self._is_late(one)]
        for one in found:
            if one.name in late and one.name not in before["late"]:
                drafts.append(Draft("queue.backlog", _backlog(one), key=one.name))
            if one.name in before["late"] and one.name not in late:
                drafts.append(Draft("queue.flowing", _backlog(one), key=one.name))
            if (more := one.stats.dead - before["dead"].get(one.name, 0)) > 0:
                said = {"queue": one.name, "messages": more, "dead": one.stats.dead}
                drafts.append(Draft("queue.dead", said, key=one.name))
        if drafts:
            publish_now(term.store, self._given, drafts)
        now = {"late": late, "dead": {one.name: one.stats.dead for one in found if one.stats.dead}}
        if now != before:
            term.keep(NAME, now)
        return _told(drafts)

    def _is_late(self, report: QueueReport) -> bool:
        limit = self._given.backlog if report.consumers else min(UNSERVED, self._given.backlog)
        return report.oldest is not None and report.oldest > limit


class RetireDuty:
    """Deletes queues of operations that nobody consumes, in which nothing is and to which nothing came for long."""

    def __init__(self, given: Settings, unused: float = UNUSED) -> None:
        self._given, self._unused = given, unused

    def __call__(self, term: Term) -> str | None:
        """Look at every queue once."""
        store = term.store
        asked = [
            report.name
            for report in audit.reports(store)
            if report.name.startswith(PREFIX) and not (report.consumers or report.present)
        ]
        calls = [queues.retire(name, unused=round(self._unused * 1000)) for name in asked]
        gone = [
            name for name, answer in zip(asked, store.run_many(calls), strict=True) if answer == 1
        ]
        if not gone:
            return None
        sets, names = keys.capability_sets(), keys.queue_names()
        store.command(sets, "SREM", sets, *(name.removeprefix(PREFIX) for name in gone))
        store.command(names, "SREM", names, *gone)
        drafts = [Draft("queue.retired", {"queue": name, "messages": 0}, key=name) for name in gone]
        publish_now(store, self._given, drafts)
        return _told(drafts)


def _repaired(store: Store, found: list[QueueReport], given: Settings) -> Iterator[Draft]:
    """Bring queues up to date in which something is held or put off."""
    places = [
        (report.name, partition)
        for report in found
        if report.stats.leased or report.stats.delayed
        for partition in partitions.partitions(report.name, report.stats.partitions)
    ]
    limits = {"deliveries": given.most_deliveries, "losses": given.most_losses}
    answers = store.run_many([queues.sweep(place, **limits) for _, place in places])
    returned: dict[str, int] = {}
    for (name, _), answer in zip(places, answers, strict=True):
        if not isinstance(answer, ReplyError):
            returned[name] = returned.get(name, 0) + answer[0]
    for name, count in returned.items():
        if count:
            yield Draft("queue.repaired", {"queue": name, "messages": count}, key=name)


def _backlog(report: QueueReport) -> dict[str, Any]:
    return {
        "queue": report.name,
        "messages": sum(report.stats.waiting),
        "oldest": report.oldest,
        "consumers": report.consumers,
    }


def _told(drafts: list[Draft]) -> str | None:
    return ", ".join(f"{one.type} {(one.data or {})['queue']}" for one in drafts) or None
