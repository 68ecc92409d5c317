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

    @property
    def silence(self) -> float | None:
        """For how many seconds the queue was not answered of which that is longest; None: it is not known."""
        return None if self._transport is None else self._transport.poller.silence

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `AgentRecord`."""
        silence, repaired = self.silence, self._repaired
        alone = self._alone + self._store.confirmer.accepted
        if self._transport is not None:
            repaired += self._transport.poller.repaired
            alone += self._transport.store.confirmer.accepted
        counts = {str(node): count for node, count in alone.items()}
        rounded = None if silence is None else round(silence, 1)
        return {"silence": rounded, "repaired": repaired, "alone": counts}
