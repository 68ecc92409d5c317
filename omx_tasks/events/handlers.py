"""Functions that are told of events: declared with `on`, found by module, called by the `processor`.

>>> @on("operation.failed", "run.failed")
... def page_somebody(event: Event) -> None:
...     print(event.data["run"])

>>> @on("operation.*", batch=500)
... def count(events: list[Event]) -> None:
...     print(len(events))

A handler is a group of its own (two: its P0 events do not wait for the rest, see `lanes`): it has its own place in the
log, its own threads and its own failures. One that
raises is called again with the same event, after 1 s, 2 s, 4 s … (``backoff``), ``deliveries`` times in all; then the
event is parked among the handler's dead. Meanwhile what follows with the same key (and priority) waits behind it, and
everything else goes on. A batch that raises has failed as a whole; one that returns some of its events has failed on
those. What is tried again comes one at a time, so that a poisonous event does not take others with it.

An event can come twice: when a process dies after it has handled one, and before that is stored. `once` helps with
what must not be done twice.

Handlers are found in the modules of ``OMX_HANDLERS`` and behind the entry points ``omx_tasks.handlers``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata
from types import ModuleType
from typing import Any, TypeVar

from omx_tasks.errors import ConfigurationError
from omx_tasks.events.types import Event
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.in_use import make_store

Function = TypeVar("Function", bound=Callable[..., Any])

GROUP = "omx_tasks.handlers"
#: Seconds that are waited at most until an event is tried again.
LONGEST = 300.0
#: What the group of a handler's P0 events is named after the handler's name.
URGENT = ":P0"

_MARK = "__omx_handler__"
_PATTERN = re.compile(r"\*|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.\*)?")


@dataclass(frozen=True)
class Handler:
    """A function and what it wants; ``name`` is where its place in the log is kept, so it should stay.

    ``gather``: seconds for which events may gather to be a batch, where their priority lets them wait less.
    """

    name: str
    function: Callable[..., Any]
    patterns: tuple[str, ...]
    priorities: tuple[Priority, ...] = tuple(Priority)
    batch: int = 1
    deliveries: int = 5
    backoff: float = 1.0
    begins: str = "new"
    gather: float = 0.0

    def call(self, events: list[Event]) -> Iterable[Event]:
        """Call the function; returns the events that it says it has failed on."""
        if self.batch == 1:
            self.function(events[0])
            return ()
        return self.function(events) or ()

    def delay(self, deliveries: int) -> float:
        """Return the seconds until an event is tried again that was delivered so often."""
        return float(min(LONGEST, self.backoff * 2 ** (deliveries - 1)))


def on(
    *patterns: str,
    priority: Priority | Iterable[Priority] | None = None,
    batch: int = 1,
    deliveries: int = 5,
    backoff: float = 1.0,
    begins: str = "new",
    name: str | None = None,
) -> Callable[[Function], Function]:
    """Declare a handler of the types that match: ``operation.failed``, ``operation.*``, ``*``.

    ``priority``: only events of this one, or of these. ``batch``: it is called with a list of up to so many, else with
    one event; what is urgent waits for the call that runs, so a batch should be done soon. ``begins``: where it begins
    when it is new: with what is published from then on (``new``), or with the ``oldest`` event that is kept. ``name``:
    its module and name unless given.
    """
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ConfigurationError(
                f"{pattern!r} matches no type of event: write 'a.b', 'a.*' or '*'"
            )
    if not patterns or batch < 1 or deliveries < 1 or begins not in ("new", "oldest"):
        raise ConfigurationError(
            "on() needs a pattern, batch and deliveries of 1 or more, and begins='new' or 'oldest'"
        )
    if name is not None and name.endswith(URGENT):
        raise ConfigurationError(f"the name {name!r} of a handler must not end with {URGENT!r}")
    given = tuple(Priority) if priority is None else priority
    priorities = (given,) if isinstance(given, Priority) else tuple(sorted(given))

    def declare(function: Function) -> Function:
        called = name or f"{function.__module__}.{function.__qualname__}"
        handler = Handler(
            called, function, patterns, priorities, batch, deliveries, backoff, begins
        )
        setattr(function, _MARK, handler)
        return function

    return declare


def handler_of(function: Any) -> Handler | None:
    """Return what `on` declared of a function."""
    handler = getattr(function, _MARK, None)
    return handler if isinstance(handler, Handler) else None


def discover(modules: str = "") -> list[Handler]:
    """Return the handlers of the modules named (``OMX_HANDLERS``), and of the entry points.

    Raises `ConfigurationError`.
    """
    found: dict[str, Handler] = {}
    for place, source in (*_named(modules), *_entry_points()):
        candidates = vars(source).values() if isinstance(source, ModuleType) else (source,)
        handlers = [handler for one in candidates if (handler := handler_of(one)) is not None]
        if not handlers:
            raise ConfigurationError(f"{place} has no handler: declare one with @on(…)")
        for handler in handlers:
            if found.setdefault(handler.name, handler) is not handler:
                raise ConfigurationError(f"{place}: there are two handlers named {handler.name!r}")
    return list(found.values())


def _named(modules: str) -> Iterator[tuple[str, Any]]:
    for name in filter(None, (part.strip() for part in modules.split(","))):
        place = f"the module of handlers {name!r}"
        try:
            yield place, import_module(name)
        except ImportError as error:
            raise ConfigurationError(f"{place} cannot be imported: {error}") from error


def _entry_points() -> Iterator[tuple[str, Any]]:
    for point in metadata.entry_points(group=GROUP):
        place = f"the entry point {point.name!r} of {GROUP}"
        try:
            yield place, point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(f"{place} cannot be loaded: {error}") from error


@contextmanager
def once(
    event: Event, by: str, *, store: Store | None = None, seconds: float = 86_400.0
) -> Iterator[bool]:
    """Say whether ``by`` has not handled this event before, and remember it for so long if what follows succeeds.

    ::

        with once(event, "invoices") as first:
            if first:
                send_invoice(event.data)
    """
    cluster = store or make_store()
    key = keys.once(by, event.id)
    try:
        first = not cluster.command(key, "EXISTS", key)
        yield first
        if first:
            cluster.command(key, "SET", key, 1, "PX", round(seconds * 1000))
    finally:
        if store is None:
            cluster.close()
