"""kombu's channel for a Redis Cluster: exchanges and bindings, publishing, consuming.

Direct and topic exchanges put a message into each queue that matches. Their bindings are stored, so that a
publisher knows queues that others declared; a fan-out exchange is a sharded channel that every bound queue's
process hears (Celery's remote control and events), and keeps nothing for those who are not there.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments
from kombu.utils.json import dumps

from omx_tasks.broker import partitions, queues
from omx_tasks.broker.batch import PublishBatch
from omx_tasks.broker.bindings import Binding, Bindings, binding_of
from omx_tasks.broker.broadcasts import Once
from omx_tasks.broker.leases import Leases
from omx_tasks.broker.partitions import Partitions
from omx_tasks.broker.poller import Poller, readable
from omx_tasks.broker.queues import Held, Posting
from omx_tasks.broker.routing import PREFIX
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.courier import Courier


class _Tag(str):
    """A delivery tag that this process gave; kombu's retries pass it again, a forwarded message does not."""

    __slots__ = ()


class Draft(NamedTuple):
    """A message as it would have been stored, and the queue to which it was routed."""

    queue: str
    message: Any


class Channel(virtual.Channel):
    """One channel of a `Transport`."""

    QoS = Leases
    supports_fanout = True
    supports_batch_publish = True
    do_restore = True
    body_encoding = None
    default_priority = Priority.P2

    #: Milliseconds for which a claimed message is ours; renewed every third of it.
    lease = 30_000
    #: Deliveries after which a message that nobody acknowledged goes to the dead ones; 0: never.
    most_deliveries = 20
    #: Leases of it that ended, since the worker did, after which a message goes to the dead ones; 0: never.
    most_losses = 5
    #: Milliseconds of waiting after which P3 gets one message of eight before P0 to P2 are done; 0: never.
    aging = 60_000
    #: Messages that one claim takes, and one ack settles, at most; 0: as many as there are.
    batch = 0
    #: Priorities of which operations are taken; of all other tasks, all are.
    priorities: Sequence[int] = tuple(Priority)
    from_transport_options = (
        *virtual.Channel.from_transport_options,
        *("lease", "most_deliveries", "most_losses", "aging", "batch", "priorities"),
    )

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.store: Store = connection.store
        self.courier: Courier = connection.courier
        self.poller: Poller = connection.poller
        self.bindings: Bindings = connection.bindings
        self.partitions: Partitions = connection.partitions
        #: When the poller claimed for this channel last (monotonic seconds).
        self.claimed_at = 0.0
        self._drafts: list[Draft] | None = None
        #: Queue → the fan-out exchange that it is bound to; the same for all channels of a connection.
        self._broadcast_queues: dict[str, str] = connection.broadcast_queues

    def __repr__(self) -> str:
        return f"<Channel {self.channel_id} {self.qos!r}>"

    # --- publishing ---------------------------------------------------------------------------------

    def prepare_message(
        self, body: Any, priority: int | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Build a message; a priority of 0 is P0, none is P2 (kombu's own takes 0 for none).

        kombu's ``Producer.publish`` says 0 for a message that was given none, so a plain app's tasks come here as P0,
        which goes first with stock Redis too. An app whose tasks shall be P2 sets ``task_default_priority = 2``.
        """
        message = super().prepare_message(body, None, *args, **kwargs)
        if priority is not None:
            message["properties"]["priority"] = priority
        return message

    def _inplace_augment_message(self, message: Any, exchange: str, routing_key: str) -> None:
        tag = message["properties"].get("delivery_tag")
        super()._inplace_augment_message(message, exchange, routing_key)
        if isinstance(tag, _Tag):
            message["properties"]["delivery_tag"] = tag

    def _next_delivery_tag(self) -> str:
        return _Tag(uuid4())

    def encode_body(self, body: Any, encoding: str | None = None) -> tuple[Any, str | None]:
        """Leave text as it is; only a body that is no text needs base64."""
        if isinstance(body, bytes):
            try:
                return body.decode(), None
            except UnicodeDecodeError:
                return b64encode(body).decode(), "base64"
        encoded: tuple[Any, str | None] = super().encode_body(body, encoding)
        return encoded

    def _put(
        self, queue: str, message: Any, batch: PublishBatch | None = None, **_kwargs: Any
    ) -> None:
        """Store one message (when this returns, the cluster has it), or add it to a batch or to the drafts."""
        if self.bindings.lapses(queue) and not self._has_queue(queue):
            self._forget_bindings(queue, message["properties"]["delivery_info"]["exchange"])
        elif self._drafts is not None:
            self._drafts.append(Draft(queue, message))
        elif batch is not None:
            batch.add(queue, posting(message))
        else:
            stored = posting(message)
            self.store.run(queues.publish(self.place(queue, stored.id), [stored]))

    def place(self, queue: str, message_id: str) -> str:
        """Return the partition of a queue that a message goes to."""
        return queue if self._lapses(queue) else self.partitions.announced(queue, message_id)

    def _lapses(self, queue: str) -> bool:
        """Whether a queue goes when it is not used: such a one has no partitions."""
        return queue in self.connection.lapsing_queues or self.bindings.lapses(queue)

    @contextmanager
    def drafting(self) -> Iterator[list[Draft]]:
        """Keep what is published in this block as drafts instead of storing it."""
        drafts: list[Draft] = []
        self._drafts = drafts
        try:
            yield drafts
        finally:
            self._drafts = None

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """Return what gathers a producer's messages until it is flushed."""
        return PublishBatch(self, max_size)

    def _put_fanout(self, exchange: str, message: Any, *_args: Any, **_kwargs: Any) -> None:
        channel = keys.broadcast(exchange)
        self.store.command(channel, "SPUBLISH", channel, dumps(message))

    # --- queues and bindings ------------------------------------------------------------------------

    def prepare_queue_arguments(self, arguments: Any, **kwargs: Any) -> Any:
        """Translate kombu's ``expires`` (s) and the like to the ``x-…`` arguments of AMQP."""
        return to_rabbitmq_queue_arguments(arguments or {}, **kwargs)

    def _new_queue(self, queue: str, arguments: Any = None, **_kwargs: Any) -> None:
        partitions.check_name(queue)
        expires = int((arguments or {}).get("x-expires") or 0)
        if expires:
            self.connection.lapsing_queues.add(queue)
            self.store.run(queues.declare(queue, expires=expires))
        else:
            self.partitions.declare(queue)
        self.store.command(keys.queue_names(), "SADD", keys.queue_names(), queue)

    def _has_queue(self, queue: str, **_kwargs: Any) -> bool:
        return bool(self.store.command(keys.meta(queue), "EXISTS", keys.meta(queue)))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: Any, queue: str) -> None:
        if self.typeof(exchange).type == "fanout":
            self._broadcast_queues[queue] = exchange
            return
        lapses = queue in self.connection.lapsing_queues
        self.bindings.add(exchange, binding_of(routing_key, pattern, queue), lapses=lapses)

    def queue_unbind(
        self,
        queue: str,
        exchange: str = "",
        routing_key: str = "",
        arguments: Any = None,
        **_k: Any,
    ) -> None:
        """Undo a binding."""
        self.state.binding_delete(queue, exchange, routing_key)
        meta = self.typeof(exchange).prepare_bind(queue, exchange, routing_key, arguments)
        self.bindings.remove(exchange, binding_of(*meta))

    def _forget_bindings(self, queue: str, exchange: str) -> None:
        for binding in self.bindings.read(exchange):
            if binding[2] == queue:
                self.bindings.remove(exchange, binding)

    def exchange_delete(self, exchange: str, **_kwargs: Any) -> None:
        """Forget an exchange and its bindings; the queues stay."""
        self.bindings.remove_exchange(exchange)
        self.state.exchanges.pop(exchange, None)

    def get_table(self, exchange: str) -> list[Binding]:
        """Return an exchange's bindings ``(routing key, pattern, queue)`` as stored now."""
        return self.bindings.read(exchange)

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        """Find the queues for a routing key; a miss is believed only when freshly read."""
        if exchange and self.typeof(exchange).type == "direct":
            found = self.bindings.recall(exchange, routing_key)
            if found:
                return found
        return list(super()._lookup(exchange, routing_key, default))

    def _size(self, queue: str) -> int:
        return sum(sum(stats.waiting) for stats in partitions.read(self.store, queue))

    def _purge(self, queue: str) -> int:
        names = partitions.all_of(self.store, queue)
        return partitions.on_all(self.store.run_many([queues.purge(name) for name in names]))

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any
    ) -> None:
        """Remove a queue with all in it, whoever declared it."""
        if if_empty and self._size(queue):
            return
        super().queue_delete(queue, if_unused=if_unused, **kwargs)
        self._broadcast_queues.pop(queue, None)
        self.connection.lapsing_queues.discard(queue)
        names = partitions.all_of(self.store, queue)
        partitions.on_all(self.store.run_many([queues.delete(name) for name in names[1:]]))
        self.store.run(queues.delete(queue))
        self.store.command(keys.queue_names(), "SREM", keys.queue_names(), queue)

    def _delete(
        self, queue: str, exchange: str, routing_key: str, pattern: Any, *_a: Any, **_k: Any
    ) -> None:
        self.bindings.remove(exchange, binding_of(routing_key, pattern, queue))

    # --- consuming ----------------------------------------------------------------------------------

    def room(self) -> int:
        """How many more messages this channel may hold."""
        return 0 if self.closed else self.qos.room()

    def serves(self, queue: str) -> Sequence[int]:
        """Return the priorities of which messages of a queue are taken."""
        return self.priorities if queue.startswith(PREFIX) else tuple(Priority)

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any
    ) -> None:
        """Deliver messages of ``queue`` to ``callback`` from now on."""
        exchange = self._broadcast_queues.get(queue)
        if exchange:
            super().basic_consume(queue, True, Once(callback), consumer_tag, **kwargs)
            self.poller.listen(exchange, queue)
        else:
            super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
            count = 1 if self._lapses(queue) else self.partitions.count(queue)
            self.poller.consume(queue, self, no_ack=no_ack, partitions=count)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop delivering; what was delivered stays ours until it is acknowledged."""
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue is None:
            return
        if exchange := self._broadcast_queues.get(queue):
            self.poller.ignore(exchange, queue)
        else:
            self.poller.cancel(queue)

    def _get(self, queue: str, **_kwargs: Any) -> dict[str, Any]:
        stats = partitions.read(self.store, queue)
        names = partitions.partitions(queue, len(stats))

        def urgency(number: int) -> list[bool]:
            return [not count for count in stats[number].waiting]

        for number in sorted(range(len(names)), key=urgency):
            if message := self._take(names[number]):
                return message
        raise virtual.base.Empty

    def _take(self, queue: str) -> dict[str, Any] | None:
        token = uuid4().hex
        call = queues.claim(
            queue,
            token,
            most=1,
            lease=self.lease,
            deliveries=self.most_deliveries,
            aging=self.aging,
            served=self.serves(queue),
            losses=self.most_losses,
            suspect=not self.qos.suspect,
        )
        got = queues.claimed(self.store.run(call))
        if not got.deliveries:
            return None
        delivery = got.deliveries[0]
        self.qos.hold(queue, Held(delivery.id, token), suspect=bool(got.suspect))
        return readable(delivery)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Take one message at once, or return None."""
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if message is not None and no_ack:
            self.qos.ack(message.delivery_tag)
        return message

    def _reset_cycle(self) -> None:
        """Nothing to do: the poller knows what is consumed."""

    def close(self) -> None:
        """Cancel the consumers and give back what is held."""
        super().close()
        self.courier.flush(5.0)


def posting(message: Any) -> Posting:
    """Return a kombu message as what is stored: its id, priority, rank and delay are read from it."""
    properties, headers = message["properties"], message.get("headers") or {}
    return Posting(
        id=str(properties["delivery_tag"]),
        body=dumps(message),
        priority=Priority.of(properties.get("priority")),
        rank=int(properties.get("rank") or 0),
        delay=delay_until(headers.get("eta")),
    )


def delay_until(eta: str | None) -> int:
    """Return milliseconds from now until an ETA (ISO 8601), 0 if there is none or it is past."""
    if not eta:
        return 0
    moment = datetime.fromisoformat(eta)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, round((moment - datetime.now(UTC)).total_seconds() * 1000))
