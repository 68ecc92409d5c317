"""Celery's result backend ``rediscluster://``.

A result is one key; storing it and telling who waits is one script, which also keeps a stored success from being
overwritten by a repeated delivery. Whoever waits hears it through the `Listener`.

With Celery's ``result_compression`` (``gzip``, ``bzip2`` …) the values of successes are compressed where they
are not small, and only of successes: so the script knows one without reading it. Every process reads both forms,
whatever its own setting is. A result that is too large even so makes its task fail with a `ResultTooLargeError`.

``result_backend_transport_options`` holds the `Limits`, ``durability`` and ``without_replica`` (``durability.py``)
and, if they are not in the URL, the options of the address (``store/options.py``).

The backend is also where an operation of a graph is finished whose task did not come to its own end in one of Celery's
pools (prefork, threads, solo): it was revoked, or its worker died. The operation's message carries a marker as its
chord, so Celery calls `on_chord_part_return`, and that is handed to ``part_returned``, which the composition root
sets. What became of an operation can be asked for by its task's id all the same (``operations``). Ordinary chords are
those of the `ChordBackend`.

The result of a task that was acknowledged before it ran (Celery's default) is on its way when the task ends, and
confirmed a moment later: the worker does not wait for that, and the death of the worker does not undo it. Where more
hangs on the result (the ack of a late-acknowledged task, the count of a chord's part, what is called when the task
fails) it is confirmed first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from celery import signals, states
from celery._state import task_join_will_block
from celery.backends.asynchronous import AsyncBackendMixin
from celery.backends.base import COMPRESSED_PAYLOAD_MAGIC, compress_payload
from celery.exceptions import BackendStoreError
from kombu.utils.encoding import bytes_to_str, ensure_bytes

from omx_tasks.durability import Promise
from omx_tasks.errors import OmxError, UnavailableError
from omx_tasks.graph.marker import MARKER
from omx_tasks.results import operations
from omx_tasks.results.chord_backend import ChordBackend, life
from omx_tasks.results.consumer import ResultConsumer
from omx_tasks.results.limits import Limits
from omx_tasks.store.address import Address
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.scripts import Call, script
from omx_tasks.store.sender import Sender

logger = logging.getLogger(__name__)

#: Seconds that the end of a worker process waits for the confirmation of its last results.
LAST_ANSWERS = 5.0

PartReturned = Callable[[Any, str, Any], None]


class Backend(ChordBackend, AsyncBackendMixin):
    """Results in a Redis Cluster."""

    ResultConsumer = ResultConsumer
    supports_autoexpire = True
    supports_failure_expires = True
    supports_native_join = True
    supports_result_compression = True
    persistent = True
    #: Called once for each finished operation that went through Celery's tracer; set by ``omx_tasks.celery``.
    part_returned: PartReturned | None = None

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app=app, url=url, **kwargs)
        self.thread_safe = True  # one listener for all threads
        options = self.app.conf.result_backend_transport_options
        self.address = Address.parse(url or "", options)
        self.limits = Limits.of(options)
        promise = Promise.of(options)
        self.store = Store(self.address, timeout=self.limits.timeout, promise=promise)
        self._sender = Sender(self.store, self._lost)
        failures = app.conf.result_failure_expires
        self.failure_expires = (
            self.expires if failures is None else self.prepare_expires(failures, type=int)
        )
        self.result_consumer = self.ResultConsumer(
            self, self.app, self.accept, self._pending_results, self._pending_messages
        )

        signals.worker_process_shutdown.connect(self._flush)
        signals.worker_shutdown.connect(self._flush)

    def as_uri(self, include_password: bool = False) -> str:
        """Return the address, with the password masked."""
        return self.address.uri(include_password=include_password)

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {**(kwargs or {}), "url": self.url})

    def on_task_call(self, _producer: Any, task_id: str) -> None:
        """Start to listen before the task can be done; a task that calls others does not wait for them."""
        if not (self.app.conf.task_always_eager or task_join_will_block()):
            self.result_consumer.expect(task_id)

    # --- keys and values ----------------------------------------------------------------------------

    def get(self, key: Any) -> bytes | None:
        """Return a value, or None."""
        name = bytes_to_str(key)
        value: bytes | None = self.store.command(name, "GET", name)
        return value

    def mget(self, keys: Iterable[Any]) -> list[bytes | None]:
        """Return many values, wherever they are, in one pipeline per node."""
        names = [bytes_to_str(key) for key in keys]
        return self.store.commands([(name, ("GET", name)) for name in names])

    def set(self, key: Any, value: Any) -> None:
        """Store a value and tell who waits."""
        self._tell(key, value, self.expires, keep_success=False)

    def expire(self, key: Any, value: int | None) -> None:
        """Let a key go after so many seconds (None or 0: keep it)."""
        name = bytes_to_str(key)
        self.store.command(name, *life(name, value))

    def encode(self, data: Any) -> Any:
        """Return a value as it is stored; see the module for what is compressed."""
        _, _, payload = self._encode(data)
        success = isinstance(data, dict) and data.get("status") == states.SUCCESS
        if self.compression and success and len(payload) > self.limits.result_compression_threshold:
            return compress_payload(payload, self.compression)
        return payload

    def _tell(
        self,
        key: Any,
        value: Any,
        expires: float | None,
        *,
        keep_success: bool,
        confirm: bool = True,
    ) -> None:
        name, value = bytes_to_str(key), ensure_bytes(value)
        if too_large := self.limits.too_large(value):
            raise too_large
        arguments = (value, int(expires or 0), int(keep_success), COMPRESSED_PAYLOAD_MAGIC)
        call = Call(script("tell_1"), (name, name), arguments, durable=True, patient=True)
        if not confirm:
            self._sender.send(call)
            return
        try:
            self.store.run(call)
        except StoreError as error:
            raise BackendStoreError(str(error)) from error

    def _lost(self, call: Call, error: OmxError) -> None:
        logger.error("a result was not stored under %s: %s", call.keys[0], error)

    def _flush(self, **_kwargs: Any) -> None:
        """Wait for the last answers, at the end of a worker process."""
        if not self._sender.flush(LAST_ANSWERS):
            logger.error("the last results were not confirmed; they may be lost")

    def _hangs_on(self, request: Any) -> bool:
        """Whether more follows from this task's result than that somebody reads it."""
        if request is None or request.is_eager or request.called_directly:
            return True
        if request.chord or request.errbacks:
            return True
        task = self.app.tasks.get(request.task)
        return task is None or bool(task.acks_late)

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **_kwargs: Any,
    ) -> Any:
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        meta["task_id"] = bytes_to_str(task_id)
        value = ensure_bytes(self.encode(meta))
        if state in self.EXCEPTION_STATES and (too_large := self.limits.too_large(value)):
            # To raise it would leave no result at all: it is what is stored.
            value = self.encode(
                {**meta, "result": self.prepare_exception(too_large), "traceback": None}
            )
        self._tell(
            self.get_key_for_task(task_id),
            value,
            self.failure_expires if state == states.FAILURE else self.expires,
            keep_success=True,
            confirm=self._hangs_on(request),
        )
        return result

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Finish an operation, or count a part of an ordinary chord."""
        if request.chord and request.chord.get("task") == MARKER["task"]:
            if self.part_returned is not None:
                self.part_returned(request, state, result)
            return
        super().on_chord_part_return(request, state, result, **kwargs)

    def _get_task_meta_for(self, task_id: str) -> Any:
        """Return what is stored of a task; of an operation, what its run knows."""
        meta = super()._get_task_meta_for(task_id)
        if meta["status"] != states.PENDING:
            return meta
        of_operation = operations.meta(self.store, task_id)
        return self.meta_from_decoded(of_operation) if of_operation else meta

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether storing may be tried again: every script here comes to the same when it runs twice."""
        return isinstance(exc, UnavailableError)
