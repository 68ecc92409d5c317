"""What a record of the log is about: the run and the operation in whose course it was written.

Whoever carries out an operation `enter`s it; what is logged from then on in the same task belongs to it, until it has
ended: what was begun on the way, such as a session that stays, is no part of it any more. Where something is logged
about an operation from elsewhere, it is said there, as ``extra`` fields of the record by the names of `FIELDS`.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

#: The fields that a record may have, in the order in which they are shown.
FIELDS = (
    "run", "operation", "attempt", "server", "tool", "resource", "prompt", "kind", "task", "task_name", "trace", "span",
)  # fmt: skip

#: Tells more of a record: what Celery knows.
Source = Callable[[logging.LogRecord], Mapping[str, Any]]


class Subject(Protocol):
    """What records may be about."""

    def about(self) -> Mapping[str, Any]:
        """Return the fields; none where it has ended."""


_current: ContextVar[weakref.ref[Subject] | None] = ContextVar("omx_subject", default=None)
_sources: list[Source] = []


def enter(subject: Subject) -> None:
    """Say what this task is about from now on; it is not kept alive by that."""
    _current.set(weakref.ref(subject))


def add_source(source: Source) -> None:
    """Ask this, too, what a record is about."""
    if source not in _sources:
        _sources.append(source)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record is about."""
    reference = _current.get()
    subject = None if reference is None else reference()
    found: dict[str, Any] = {} if subject is None else dict(subject.about())
    for source in _sources:
        found = {**source(record), **found}
    found |= {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}
    return {name: found[name] for name in FIELDS if found.get(name) not in (None, "", "???")}
