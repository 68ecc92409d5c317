"""A cluster, those who work on it, and their books: what rests, goes on, is waited for and measured together."""

from __future__ import annotations

import signal
import time
from collections import Counter
from dataclasses import dataclass, field

from census import Census, take
from crew import Member
from ledger_file import Ledger
from mixture import Mixture
from publisher import ACKED, RESTS, THREADS
from shard import Cluster, wait_until

from omx_tasks.broker import audit
from omx_tasks.store.client import Store

#: Seconds for which runs and results are kept; without progress after which something hangs.
KEEP, PATIENCE = 45, 60.0
#: Seconds by which what is kept may be late.
MARGIN = 4.0
#: Kinds of keys of which there is a number for good, once they were needed: a log of events for each priority of each
#: partition, which is bounded in itself.
AT_MOST = {"event_log": 24}
#: The list in which a run that was announced and then refused stays for an hour: it may be stored all the same.
ANNOUNCED = "open_runs"


@dataclass
class Struck:
    """A blow that was dealt; times are monotonic seconds."""

    name: str
    target: str
    since: float
    seconds: float


@dataclass
class Scene:
    """A cluster, those who work on it, and their books."""

    cluster: Cluster
    store: Store
    queues: list[str]
    crew: list[Member]
    books: list[Ledger]
    worked: Ledger
    graphs: Mixture
    struck: list[Struck] = field(default_factory=list)

    @property
    def publishers(self) -> list[Member]:
        return [member for member in self.crew if member.kind == "publisher"]

    def rest(self) -> None:
        """Let nothing more be published or submitted."""
        rested = [book.counts(RESTS)[0] for book in self.books]
        for publisher in self.publishers:
            publisher.send(signal.SIGUSR1)
        self.graphs.rest()
        for book, before in zip(self.books, rested, strict=True):
            wait_until(lambda b=book, n=before: b.counts(RESTS)[0] >= n + THREADS, 2 * PATIENCE)

    def go_on(self) -> None:
        for publisher in self.publishers:
            publisher.send(signal.SIGUSR2)
        self.graphs.go_on()

    def told(self) -> set[int]:
        """Return the messages that were acknowledged."""
        return {number for book in self.books for number in book.counts(ACKED)}

    def settle(self) -> None:
        """Wait until all is done; or until nothing was any more for a while."""
        told, seen, until = self.told(), None, time.monotonic() + PATIENCE
        while (now := self._left(told)) != (0, 0, 0) and time.monotonic() < until:
            if now != seen:
                seen, until = now, time.monotonic() + PATIENCE
            time.sleep(1.0)

    def _left(self, told: set[int]) -> tuple[int, int, int]:
        missing = len(told - self.worked.counts().keys())
        return missing, self.graphs.open, sum(report.present for report in self.reports())

    def reports(self) -> list[audit.QueueReport]:
        return [report for report in audit.reports(self.store) if not report.is_internal]

    def quiet(self, like: Census | None = None) -> Census:
        """Wait until what is kept for a while is gone; returns as soon as there is no more than in ``like``."""
        until = time.monotonic() + KEEP + (MARGIN if like is None else PATIENCE)
        census = None
        while time.monotonic() < until and (
            like is None or census is None or more_than(census, like)
        ):
            time.sleep(2.0)
            census = take(self.cluster)
        return census or take(self.cluster)

    def measure(self) -> None:
        for member in self.crew:
            member.measure()


def more_than(census: Census, like: Census) -> Counter[str]:
    """Return the keys that there were not at another moment, but for those that lapse later than we wait."""
    more = census.keys - like.keys
    del more[ANNOUNCED]
    for kind in list(more):
        more[kind] -= census.lapsing[kind]
        if census.keys[kind] <= AT_MOST.get(kind, 0):
            del more[kind]
    return +more
