"""Whether an agent consumes, and how safe is what it writes: the part of its heartbeat that is about the cluster."""

from __future__ import annotations

from collections import Counter
from typing import Any

from omx_tasks.broker.transport import Transport
from omx_tasks.store.client import Store
from omx_tasks.store.node import Node


class Liveness:
    """Read from the courier's thread; told by the consumer of each connection that it has (`attend`)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._transport: Transport | None = None
        #: What the connections before this one had counted.
        self._repaired = 0
        self._alone: Counter[Node] = Counter()

    def attend(self, transport: Any) -> None:
        """Look at this connection's consumption from now on; those of other transports cannot be looked at."""
        if self._transport is not None:
            self._repaired += self._transport.poller.repaired
            self._alone += self._transport.store.confirmer.accepted
        self._transport = transport if isinstance(transport, Transport) else None

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `AgentRecord`."""
        silence, repaired = None, self._repaired
        alone = self._alone + self._store.confirmer.accepted
        if self._transport is not None:
            silence = round(self._transport.poller.silence, 1)
            repaired += self._transport.poller.repaired
            alone += self._transport.store.confirmer.accepted
        counts = {str(node): count for node, count in alone.items()}
        return {"silence": silence, "repaired": repaired, "alone": counts}
