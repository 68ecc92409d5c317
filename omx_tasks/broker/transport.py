"""Celery's broker transport ``rediscluster://`` (TLS: ``redisclusters://``).

Importing this module makes the scheme known to kombu in this process (`register`). A process that has only
Celery and this package says ``broker_transport = "omx_tasks.broker.transport:Transport"`` instead.

Of the transport options, ``durability`` (``replica`` without it, or ``memory``, ``fsync``) says what a published
message outlives before publishing returns, and ``without_replica`` (``accept`` or ``refuse``) what happens where
a shard has no replica; see ``omx_tasks.durability``. ``partitions`` (a number, or one for each queue that is named;
1 without it) spreads queues over slots; see ``omx_tasks.broker.partitions``.
"""

from __future__ import annotations

import atexit
from importlib.metadata import version
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, virtual

from omx_tasks.broker.bindings import Bindings
from omx_tasks.broker.channel import Channel
from omx_tasks.broker.leases import Leases
from omx_tasks.broker.partitions import Partitions
from omx_tasks.broker.poller import Poller
from omx_tasks.durability import Promise
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.store.address import Address
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.courier import Courier
from omx_tasks.store.link import LinkError

#: Seconds between two trips with acks: under load, one carries many; nobody waits for them.
ACKS = 0.005


class Transport(virtual.Transport):
    """One connection of a producer or consumer: a store for what waits, a poller for what is woken."""

    Channel = Channel
    can_parse_url = True
    default_port = 7000
    #: Celery makes its event exchange a fan-out for this type.
    driver_type = "redis"
    driver_name = "omx-rediscluster"
    polling_interval = None
    connection_errors = (UnavailableError, LinkError, OSError)
    channel_errors = (*virtual.Transport.channel_errors, StoreError)
    implements = virtual.Transport.implements.extend(
        asynchronous=True,
        batch_publish=True,
        exchange_type=frozenset({"direct", "topic", "fanout"}),
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        url = client.hostname or ""
        if "://" not in url:
            url = f"rediscluster://{url or 'localhost'}:{client.port or self.default_port}"
        options = client.transport_options
        if client.ssl:
            raise ConfigurationError(
                "broker_use_ssl is not used: write redisclusters:// in broker_url"
            )
        address = Address.parse(url, options)
        timeout = float(options.get("timeout", 30.0))
        self.store = Store(address, timeout=timeout, promise=Promise.of(options))
        self.courier = Courier(self.store, name="acks", interval=ACKS)
        self.poller = Poller(self.store, self._deliver)
        self.bindings = Bindings(self.store)
        self.partitions = Partitions(self.store, options.get("partitions", 1))
        self.broadcast_queues: dict[str, str] = {}
        self.lapsing_queues: set[str] = set()
        self._renewing = False
        self._closed = False
        #: Leases of closed channels on whose messages somebody still works.
        self._kept: set[Leases] = set()

    def driver_version(self) -> str:
        """Return the version of this package."""
        return version("omx-tasks")

    def establish_connection(self) -> Any:
        """Make sure that the cluster answers, then make the first channel."""
        self.store.ping(self.client.connect_timeout or 5.0)
        self.courier.start()
        return super().establish_connection()

    def create_channel(self, connection: Any) -> Any:
        """Make a channel; the first one that consumes starts the renewal of leases."""
        channel = super().create_channel(connection)
        if not self._renewing:
            self._renewing = True
            self.courier.every(channel.lease / 3000, self._renewals)
        return channel

    def _renewals(self) -> Any:
        for leases in [*(channel.qos for channel in self.channels), *self._kept]:
            yield from leases.renewals()
        self._forget_the_done()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ARG002
        """Let Celery's event loop drive the poller."""
        self.poller.register(loop)

    def drain_events(self, _connection: Any, timeout: float | None = None, **_kwargs: Any) -> None:
        """Wait for messages without an event loop; `TimeoutError` when none came in ``timeout`` seconds."""
        self.poller.drain(timeout)

    def close_channel(self, channel: Any) -> None:
        """Forget a channel, but not what somebody still works on."""
        if len(channel.qos):
            self._kept.add(channel.qos)
        super().close_channel(channel)

    def close_connection(self, connection: Any) -> None:
        """Give back what nobody works on, flush the acks, close the links.

        For what somebody still works on the courier goes on: it renews the leases and carries the acks.
        """
        super().close_connection(connection)
        self.poller.close()
        atexit.register(self._let_go)
        self._closed = True
        self._forget_the_done()

    def _forget_the_done(self) -> None:
        """Forget leases of closed channels when the last of their messages is done with, and so the connection."""
        self._kept.difference_update([leases for leases in self._kept.copy() if not len(leases)])
        if self._closed and not self._kept:
            self._let_go()

    def _let_go(self) -> None:
        atexit.unregister(self._let_go)
        for leases in self._kept:
            leases.restore_unacked()
        self.courier.stop()
        self.store.close()

    def verify_connection(self, connection: Any) -> bool:  # noqa: ARG002
        """Whether the connection can be used."""
        return True

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """Return the address, all its seeds, with the password masked."""
        return Address.parse(uri).uri(include_password=include_password, mask=mask)

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """Where a cluster is when nobody says so."""
        return {"hostname": f"rediscluster://localhost:{self.default_port}", "port": None}


def register() -> None:
    """Make ``rediscluster://`` and ``redisclusters://`` known to kombu in this process."""
    for scheme in ("rediscluster", "redisclusters"):
        TRANSPORT_ALIASES[scheme] = "omx_tasks.broker.transport:Transport"


register()

__all__ = ["Transport", "register"]
