"""What every agent process has: a loop with live sessions, a courier to the cluster, and a runner.

Made after the fork and started before the first message is taken: when `start` returns, each server of the
file is up, its tools are listed and published in the catalogue, or the reason why it is not is known.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from omx_tasks.agents.runner import Advance, Runner
from omx_tasks.broker.routing import set_name, words_of
from omx_tasks.errors import OmxError, OperationError
from omx_tasks.mcp.config import ServerFile
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.settings import Settings
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.courier import Courier, Done
from omx_tasks.store.scripts import Call, script

logger = logging.getLogger(__name__)

#: Seconds between two heartbeats. They also bring the capability sets that are newly asked for.
HEARTBEAT = 1.0


class Host:
    """One agent's warm parts. `start` it once, `stop` it once."""

    def __init__(
        self,
        name: str,
        slots: int,
        store: Store,
        servers: ServerFile,
        settings: Settings,
        advance: Advance,
        environ: Mapping[str, str],
    ) -> None:
        self.name = name
        self.loop = LoopThread()
        self.courier = Courier(store, name="runner")
        self.on_capability_sets: Callable[[frozenset[str]], None] = lambda _sets: None
        self._servers = servers
        self._slots = slots
        self._catalogue: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._pool = SessionPool(
            servers.servers,
            deadline=settings.server_start_timeout,
            agent=name,
            environ=environ,
            log_dir=settings.log_dir,
        )
        self.runner = Runner(
            agent=name,
            courier=self.courier,
            sessions=self._pool,
            servers=servers.servers,
            advance=advance,
            slots=slots,
            output_limit=settings.output_limit,
        )

    def __repr__(self) -> str:
        return f"<Host {self.name} servers={sorted(self._servers.servers)}>"

    def start(self) -> None:
        """Open every session, then report as ready."""
        self.loop.start()
        self.courier.start()
        self._report(self.loop.run(self._pool.warm()))
        self.courier.post(self._heartbeat)
        self.courier.every(HEARTBEAT, self._heartbeat)

    def stop(self, timeout: float) -> None:
        """Let what runs end (for ``timeout`` seconds), carry the last answers, close the sessions."""
        self.runner.drain(timeout)
        self.courier.send(self._heartbeat_call("", {}))
        self.courier.stop()
        self.loop.run(self._pool.close(), timeout=10.0)
        self.loop.stop()

    def _report(self, outcomes: Mapping[str, OperationError | None]) -> None:
        for server, error in outcomes.items():
            if error is not None:
                self._failed[server] = error.message
                logger.error("%s", error.message)
        for server in outcomes.keys() - self._failed.keys():
            session = self.loop.run(self._pool.get(server))
            self._catalogue[server] = json.dumps(session.description)

    # --- heartbeat ----------------------------------------------------------------------------------

    def _heartbeat(self) -> Iterable[tuple[Call, Done | None]]:
        yield self._heartbeat_call(self._record(), self._catalogue), self._read_sets

    def _heartbeat_call(self, record: str, catalogue: Mapping[str, str]) -> Call:
        pairs = [word for pair in catalogue.items() for word in pair]
        names = (keys.agents(), keys.catalogue(), keys.capability_sets())
        return Call(script("heartbeat_1"), names, (self.name, record, *pairs))

    def _record(self) -> str:
        record = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slots": self._slots,
            "busy": self.runner.busy,
            "done": self.runner.done,
            "servers": sorted(self._catalogue),
            "failed": self._failed,
            "config": self._servers.digest,
            "heard": time.time(),
        }
        return json.dumps(record)

    def _read_sets(self, answer: Any) -> None:
        if isinstance(answer, OmxError):
            logger.warning("the heartbeat was not confirmed: %s", answer)
            return
        self.on_capability_sets(
            frozenset(name.decode() for name in answer if self.covers(name.decode()))
        )

    # --- capabilities -------------------------------------------------------------------------------

    def covers(self, capability_set: str) -> bool:
        """Whether this agent offers all words of a set: its servers, and every other word."""
        servers = {word for word in words_of(capability_set) if word.startswith("server:")}
        return servers <= {f"server:{name}" for name in self._servers.servers}

    def own_sets(self) -> list[str]:
        """Return the sets of one server each, which this agent always serves."""
        return [set_name([f"server:{name}"]) for name in sorted(self._servers.servers)]
