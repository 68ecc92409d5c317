"""Publishing many messages of one task at once: `publish_many`.

Celery's own way to a message (routing, headers, two serialisations, a look at exchange and queue) costs more than all
that follows. Here the first call goes that way, and the messages of the others are written after its `Pattern`;
they are stored up to 500 by one script.

What could come out differently for each call is left to Celery, call by call, inside ``producer.batch()``: tasks that
publish in a way of their own, routes that look at the arguments, serializers other than JSON, other transports,
and signals or events by which somebody wants to be told of each message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from celery import Celery, Task, signals
from celery.app.routes import MapRoute
from celery.utils.saferepr import saferepr
from kombu.utils.uuid import uuid

from omx_tasks.broker.batch import MOST, PublishBatch
from omx_tasks.broker.channel import Channel, posting
from omx_tasks.broker.pattern import Pattern, Show, TaskCall, pattern_of
from omx_tasks.errors import UnavailableError, UnconfirmedError
from omx_tasks.store.client import StoreError

#: Messages that wait to be stored at most: several scripts' worth, which go to all nodes at the same time.
GATHERED = 4 * MOST

_OWN = ("task_id", "priority", "rank", "eta")
_PUBLISHING = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)

#: Which options of its own a call has: those calls look alike whose messages have the same fields.
Shape = tuple[bool, bool, bool]


def publish_many(
    task: Task | str,
    calls: Iterable[TaskCall | tuple[Any, ...]],
    *,
    app: Celery | None = None,
    producer: Any = None,
    **options: Any,
) -> list[str]:
    """Call a task many times, and return the task ids when all messages are stored.

    ``calls`` are `TaskCall` or tuples ``(args, kwargs)``; ``options`` are those of ``apply_async``, for all of them.
    A task that is known here only by its name is given as that, with the ``app``. ``app.AsyncResult(id)`` gets a
    result. Like ``apply_async`` this raises kombu's `OperationalError` when the cluster does not confirm in time; it
    says how many messages are stored, and whether others may be.
    """
    if app is None:
        if isinstance(task, str):
            raise TypeError(
                f"publish_many({task!r}, …) needs an app to publish by name: pass app=…"
            )
        app = task.app
    with app.producer_or_acquire(producer) as held, held.connection._reraise_as_library_errors():
        mailing = _Mailing(app, task, held, options)
        wanted = (TaskCall(*call) for call in calls)
        if mailing.is_uniform():
            return mailing.publish(wanted)
        with held.batch():
            return [mailing.apply(call) for call in wanted]


class _Mailing:
    """The calls of one task with one set of options, through one producer."""

    def __init__(
        self, app: Celery, task: Task | str, producer: Any, options: Mapping[str, Any]
    ) -> None:
        self._app = app
        self._task: Any = None if isinstance(task, str) else task
        self._send = partial(app.send_task, task) if isinstance(task, str) else task.apply_async
        self._producer = producer
        self._options = options
        self._check = getattr(self._task, "__header__", None) if self._typed() else None
        self._parent = app.current_worker_task if options.get("add_to_parent", True) else None
        self._show = _shower(app)
        self._patterns: dict[Shape, Pattern] = {}

    def is_uniform(self) -> bool:
        """Whether the messages differ in nothing but what a call says, and nobody wants to be told of each."""
        app, conf = self._app, self._app.conf
        return (
            isinstance(self._producer.channel, Channel)
            and type(app).send_task is Celery.send_task
            and not (conf.task_always_eager or conf.task_send_sent_event)
            and conf.task_protocol == 2
            and not any(signal.receivers for signal in _PUBLISHING)
            and all(isinstance(route, MapRoute) for route in app.amqp.router.routes)
            and not {"router", "root_id"} & self._options.keys()
            and (self._task is None or _publishes_plainly(self._task))
        )

    def apply(self, call: TaskCall) -> str:
        """Publish a call as Celery does, and return its id; what it says itself goes first."""
        own = {name: getattr(call, name) for name in _OWN if getattr(call, name) is not None}
        options = {**self._options, **own}
        if call.eta is not None:
            options.pop("countdown", None)
        result = self._send(call.args, call.kwargs, producer=self._producer, **options)
        return str(result.id)

    def publish(self, calls: Iterable[TaskCall]) -> list[str]:
        """Publish all, the first of each shape as Celery does; returns their ids."""
        batch = PublishBatch(self._producer.channel, GATHERED)
        try:
            return self._gather(batch, calls)
        except (UnavailableError, StoreError) as error:
            if not batch.stored:
                raise
            raise UnconfirmedError(f"{batch.stored} messages are stored; then: {error}") from error

    def _gather(self, batch: PublishBatch, calls: Iterable[TaskCall]) -> list[str]:
        ids = []
        for call in calls:
            pattern = self._patterns.get(_shape(call))
            if pattern is None or not _is_sound(call):
                ids.append(self._draft(batch, call))
            else:
                ids.append(self._write(batch, call, pattern))
            if batch.full:
                batch.flush()
        batch.flush()
        return ids

    def _draft(self, batch: PublishBatch, call: TaskCall) -> str:
        """Have Celery build a call's message, and learn from it."""
        with self._producer.channel.drafting() as drafts:
            task_id = self.apply(call)
        for draft in drafts:
            batch.add(draft.queue, posting(draft.message))
        pattern = pattern_of(drafts, call, task_id, self._show)
        if pattern is not None:
            self._patterns[_shape(call)] = pattern
        return task_id

    def _write(self, batch: PublishBatch, call: TaskCall, pattern: Pattern) -> str:
        if self._check is not None:
            self._check(*(call.args or ()), **(call.kwargs or {}))
        task_id = call.task_id or uuid()
        message = pattern.posting(task_id, call)
        for queue in pattern.queues:
            batch.add(queue, message)
        if self._parent is not None:
            self._parent.add_trail(self._app.AsyncResult(task_id))
        return task_id

    def _typed(self) -> bool:
        return self._task is not None and self._task.typing


def _publishes_plainly(task: Any) -> bool:
    kind = task.__class__
    return (
        kind.apply_async is Task.apply_async
        and kind.shadow_name is Task.shadow_name
        and task._dump_pydantic_arguments is None
    )


def _shape(call: TaskCall) -> Shape:
    return call.priority is None, call.rank is None, call.eta is None


def _is_sound(call: TaskCall) -> bool:
    """Whether Celery would take these arguments; what it refuses is given to it, for its error."""
    return isinstance(call.args or (), list | tuple) and isinstance(call.kwargs or {}, Mapping)


def _shower(app: Celery) -> Show:
    """Return what shows arguments as the messages of this app do."""
    amqp, levels = app.amqp, app.conf.task_repr_maxlevels

    def shown(value: Any, size: int) -> str:
        return saferepr(value, size, maxlevels=levels) if value else str(value)

    def show(args: Any, kwargs: Any) -> tuple[str, str]:
        return shown(args, amqp.argsrepr_maxsize), shown(kwargs, amqp.kwargsrepr_maxsize)

    return show
