"""The pattern of a task's messages: taken from one that Celery built, it writes those of further calls.

A field is left blank where it holds what Celery makes of the call itself: its id, its arguments and how they are shown,
its own priority, rank or time. What was set by hand, by a route or by the app stays as it is. Only plain JSON can
be taken apart: for other messages there is no pattern.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any, NamedTuple

from kombu.serialization import dumps
from kombu.utils.uuid import uuid

from omx_tasks.broker.channel import Draft, delay_until
from omx_tasks.broker.form import Form, blank, quoted
from omx_tasks.broker.queues import Posting
from omx_tasks.priorities import Priority


class TaskCall(NamedTuple):
    """One call of a task; what is None is as it is for all that are published together."""

    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    task_id: str | None = None
    priority: int | None = None
    #: Milliseconds of work that depends on it: of one priority, the longest goes first.
    rank: int | None = None
    eta: datetime | None = None


#: Returns arguments, by position and by name, as Celery shows them.
Show = Callable[[Any, Any], tuple[str, str]]

#: The fields that may be of the call's own, and what of it they hold.
_HEADERS = {"id": "id", "root_id": "id", "argsrepr": "args", "kwargsrepr": "kwargs", "eta": "eta"}
_PROPERTIES = {"correlation_id": "id", "priority": "priority", "rank": "rank"}


class Pattern:
    """Writes messages for ``queues`` like the one that Celery built for ``call``."""

    def __init__(
        self, queues: Sequence[str], message: Any, call: TaskCall, task_id: str, show: Show
    ) -> None:
        self.queues = queues
        self._show = show
        stem = uuid()
        self._tags = (f"{stem}-{number}" for number in count())
        headers, properties = message["headers"], message["properties"]
        self._eta: str | None = headers["eta"]
        self._priority = Priority.of(properties["priority"])
        self._rank = int(properties.get("rank") or 0)
        self._tail = message["body"].removeprefix(_arguments(call))
        own = self._values(task_id, call)
        blanks = {
            "body": blank("body"),
            "headers": _with_blanks(headers, _HEADERS, own),
            "properties": {
                **_with_blanks(properties, _PROPERTIES, own),
                "delivery_tag": blank("tag"),
            },
        }
        self._form = Form({**message, **blanks})

    def __repr__(self) -> str:
        return f"<Pattern for {', '.join(self.queues)}>"

    def posting(self, task_id: str, call: TaskCall) -> Posting:
        """Write the message of a call that has the same options of its own as the first one had."""
        values, tag = self._values(task_id, call), next(self._tags)
        values["tag"] = quoted(tag)
        values["body"] = quoted(_arguments(call) + self._tail)
        eta = self._eta if call.eta is None else _text(call.eta)
        return Posting(
            tag,
            self._form.filled(values),
            self._priority if call.priority is None else Priority.of(call.priority),
            self._rank if call.rank is None else int(call.rank),
            delay_until(eta),
        )

    def _values(self, task_id: str, call: TaskCall) -> dict[str, str]:
        """Return what a call has of its own, as JSON."""
        args, kwargs = self._show(call.args or (), call.kwargs or {})
        values = {"id": quoted(task_id), "args": quoted(args), "kwargs": quoted(kwargs)}
        if call.eta is not None:
            values["eta"] = quoted(_text(call.eta))
        if call.priority is not None:
            values["priority"] = json.dumps(call.priority)
        if call.rank is not None:
            values["rank"] = json.dumps(call.rank)
        return values


def pattern_of(drafts: Sequence[Draft], call: TaskCall, task_id: str, show: Show) -> Pattern | None:
    """Make the pattern of what was drafted for a call, where there is one."""
    if not drafts:
        return None
    message = drafts[0].message
    if any(draft.message is not message for draft in drafts) or not _is_plain_json(message):
        return None
    if not message["body"].startswith(_arguments(call)):
        return None
    return Pattern([draft.queue for draft in drafts], message, call, task_id, show)


def _is_plain_json(message: Any) -> bool:
    return (
        message["content-type"] == "application/json"
        and "compression" not in message["headers"]
        and message["properties"]["body_encoding"] is None
    )


def _with_blanks(
    fields: Mapping[str, Any], names: Mapping[str, str], own: Mapping[str, str]
) -> dict[str, Any]:
    blanks = {
        field: blank(name)
        for field, name in names.items()
        if field in fields and name in own and json.dumps(fields[field]) == own[name]
    }
    return {**fields, **blanks}


def _arguments(call: TaskCall) -> str:
    """Return how the body of a call's message begins: ``[args, kwargs``, without what follows."""
    _, _, text = dumps((call.args or (), call.kwargs or {}), serializer="json")
    return str(text[:-1])


def _text(eta: datetime | str) -> str:
    return eta if isinstance(eta, str) else eta.isoformat()
