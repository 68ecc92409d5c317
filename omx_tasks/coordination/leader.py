"""Which one of several coordinators leads: a lease in the store, with a fencing token.

::

                     the lease is free
    standing by ────────────────────────► leading ──renewed, twice a second──┐
        ▲  ▲                               │ ▲ └─────────────────────────────┘
        │  └── not renewed for long, ──────┤
        │      another one has it          │
        └───────── stopping in order: the lease is given up

When the lease ends is decided by the server's clock; here only durations are measured, from before a renewal was sent.
So a leader that cannot reach the cluster, or was stopped and wakes up, knows by itself that its time is over, a little
earlier than the server does. A lease is taken durably: a failover does not give it to two. Renewals are not, and
one that is lost with a master only makes the lease end earlier for the others: for so long, one lease at most, two may
act, which all duties stand.

What a duty does, it does through its `Term`: each request looks first whether the term still is. What it writes
down for the next leader (`Term.keep`) the store itself refuses when a later token was given out.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from omx_tasks.errors import OmxError, UnavailableError
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script

#: Seconds that a lease lasts, between two renewals, and between two looks of one that stands by.
LEASE, RENEW, LOOK = 3.0, 0.5, 0.25
#: By how many seconds a leader stops earlier than its lease ends: a request may be on its way for so long.
MARGIN = 0.25
#: Seconds for which one renewal is tried.
PATIENCE = 1.0


class NotLeadingError(Exception):
    """Another one may lead by now. No `OmxError`: what bears with troubles of the cluster must not bear with this."""


class Standing(NamedTuple):
    """The answer to `lead`: who leads, with which token, since when (Unix seconds)."""

    leads: bool
    token: int
    left: float
    leader: str
    since: float


def lead(name: str, record: str, *, held: int = 0, lease: float = LEASE) -> Call:
    """Take the lease or renew it, and show ``record``; read the answer with `standing`. An empty record: give it up.

    ``held`` is the token that one has, 0 for none.
    """
    names = (keys.lease(), keys.coordinators())
    arguments = (name, round(lease * 1000), held, record)
    return Call(script("lead_1"), names, arguments, durable=not held)


def standing(answer: list[Any]) -> Standing:
    """Read the answer to `lead`."""
    leads, token, left, leader, since = answer
    return Standing(bool(leads), int(token), left / 1000, leader.decode(), since / 1000)


class Term:
    """The time for which this process leads without a break. Once over it stays over. Thread-safe.

    ``store`` refuses every request when it is over.
    """

    def __init__(self, store: Store, token: int, since: float, until: float) -> None:
        self.store, self.token, self.since = store, token, since
        self._until = until
        self._over = False
        store.guard = self.check

    def __repr__(self) -> str:
        return f"<Term {self.token} {'holds' if self.holds else 'over'}>"

    @property
    def holds(self) -> bool:
        """Whether no other one leads."""
        if time.monotonic() >= self._until:
            self._over = True
        return not self._over

    def check(self) -> None:
        """Raise `NotLeadingError` where it is over."""
        if not self.holds:
            raise NotLeadingError("another coordinator may lead by now")

    def extend(self, until: float) -> None:
        """Go on until then, if it is not over yet."""
        if self.holds:
            self._until = until

    def end(self) -> None:
        """Refuse what comes from now on."""
        self._over = True

    def recall(self, duty: str) -> Any:
        """Return what was last written down for a duty, by whoever led; None where that is nothing."""
        text = self.store.command(keys.memory(), "HGET", keys.memory(), duty)
        return None if text is None else json.loads(text)

    def keep(self, duty: str, what: Any) -> None:
        """Write down what a duty knows; raises `NotLeadingError` where there is another leader."""
        arguments = (self.token, duty, json.dumps(what))
        call = Call(script("keep_1"), (keys.lease(), keys.memory()), arguments, durable=True)
        if not self.store.run(call):
            self.end()
            self.check()


class Leader:
    """Takes part for one process. `beat` it again and again; who does something only as the leader waits for a `Term`.

    ``make_store`` makes a store for the lease, which must not wait behind anything else, and one for each term.
    """

    def __init__(self, make_store: Callable[[], Store], name: str, *, lease: float = LEASE) -> None:
        self.name = name
        #: Why the last beat was not answered.
        self.trouble: str | None = None
        #: Whether any beat was.
        self.heard = threading.Event()
        self._make_store, self._length = make_store, lease
        self._store = make_store()
        self._store.attempt = PATIENCE
        self._changed = threading.Condition()
        self._term: Term | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Leader {self.name} {self._term}>"

    @property
    def term(self) -> Term | None:
        """The term that holds."""
        term = self._term
        return term if term is not None and term.holds else None

    def wait(self, seconds: float | None = None) -> Term | None:
        """Wait until this process leads; None when it did not, or is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.term is not None, seconds)
            return None if self._closed else self.term

    def beat(self, record: str) -> float:
        """Renew the lease or try to take it; return the seconds until the next beat."""
        term, sent = self.term, time.monotonic()
        held = 0 if term is None else term.token
        call = lead(self.name, record, held=held, lease=self._length)
        try:
            found = standing(self._store.run(call, timeout=PATIENCE))
        except UnavailableError as error:
            self.trouble = str(error)
        except OmxError as error:
            self.trouble = str(error)
            self._finish()
        else:
            self.trouble = None
            self.heard.set()
            self._settle(found, sent + self._length - MARGIN)
        return RENEW if self.term is not None and self.trouble is None else LOOK

    def _settle(self, found: Standing, until: float) -> None:
        term = self.term
        if term is not None and (not found.leads or found.token != term.token):
            self._finish()
            term = None
        if not found.leads:
            return
        if term is not None:
            term.extend(until)
            return
        if self._term is not None:
            self._term.store.close()
        with self._changed:
            self._term = Term(self._make_store(), found.token, found.since, until)
            self._changed.notify_all()

    def _finish(self) -> None:
        if self._term is not None:
            self._term.end()

    def close(self) -> None:
        """Lead no more, and let another one do so at once."""
        with self._changed:
            self._closed = True
            self._finish()
            self._changed.notify_all()
        try:
            self._store.run(lead(self.name, ""), timeout=PATIENCE)
        except OmxError as error:
            self.trouble = str(error)  # the lease ends by itself
        self._store.close()
        if self._term is not None:
            self._term.store.close()
