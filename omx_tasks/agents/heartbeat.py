"""Says once a second that an agent lives; what comes back are the capability sets that are asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from omx_tasks.agents.capabilities import Capabilities
from omx_tasks.errors import OmxError
from omx_tasks.store import keys
from omx_tasks.store.courier import Courier, Done
from omx_tasks.store.scripts import Call, script

logger = logging.getLogger(__name__)

#: Seconds between two heartbeats, and heartbeats between two that bring the catalogue, the first among them.
EVERY, CATALOGUE_EVERY = 1.0, 30
#: What a process says that is no agent itself, or no longer: it is not in the list of agents.
GONE = ""


class Heartbeat:
    """``record`` makes what is said of the agent ``name``; ``catalogue`` is what its servers offer, as JSON texts."""

    def __init__(
        self,
        courier: Courier,
        name: str,
        capabilities: Capabilities,
        record: Callable[[], str] = lambda: GONE,
        catalogue: Mapping[str, str] | None = None,
    ) -> None:
        self.on_sets: Callable[[list[str]], None] = lambda _sets: None
        self._courier = courier
        self._name = name
        self._capabilities = capabilities
        self._record = record
        self._catalogue = {} if catalogue is None else catalogue
        self._stopped = True
        self._beats = 0

    def start(self) -> None:
        """Beat now and once a second from now on, for as long as the courier goes."""
        self._stopped = False
        self._courier.post(self._beat)
        self._courier.every(EVERY, self._beat)

    def refresh(self) -> None:
        """Bring the catalogue at once: it has changed. From any thread; nothing happens before the start."""
        self._beats = 0
        if not self._stopped:
            self._courier.post(self._beat)

    def stop(self) -> None:
        """Leave the list of agents."""
        self._stopped = True
        self._courier.send(self._call(GONE, {}))

    def _beat(self) -> Iterable[tuple[Call, Done | None]]:
        if not self._stopped:
            catalogue = {} if self._beats % CATALOGUE_EVERY else self._catalogue
            self._beats += 1
            yield self._call(self._record(), catalogue), self._read_sets

    def _call(self, record: str, catalogue: Mapping[str, str]) -> Call:
        pairs = [word for pair in list(catalogue.items()) for word in pair]
        names = (keys.agents(), keys.catalogue(), keys.capability_sets())
        return Call(script("heartbeat_1"), names, (self._name, record, *pairs))

    def _read_sets(self, answer: Any) -> None:
        if isinstance(answer, OmxError):
            logger.warning("the heartbeat was not confirmed: %s", answer)
            return
        sets = [name.decode() for name in answer]
        self.on_sets(sorted(filter(self._capabilities.covers, sets)))
