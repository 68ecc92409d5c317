"""What every agent process has: a loop with live sessions, a courier to the cluster, and a runner.

Made after the fork and started before the first message is taken: when `start` returns, each server that the
agent is to hold open (see `policy`) is up, its tools are listed and published in the catalogue, or the reason why it is
not is known. One that comes (back) later is published then, with what it offers then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from omx_tasks.agents.affinity import Affinity
from omx_tasks.agents.caller import Caller
from omx_tasks.agents.cancellations import Cancellations
from omx_tasks.agents.capabilities import Capabilities
from omx_tasks.agents.health.chores import Chore, Chores
from omx_tasks.agents.health.footprint import Footprint
from omx_tasks.agents.health.liveness import Liveness
from omx_tasks.agents.health.pulse import Pulse, file_of
from omx_tasks.agents.health.tenure import EVERY, Tenure, limit_of
from omx_tasks.agents.heartbeat import Heartbeat
from omx_tasks.agents.outages import Outages
from omx_tasks.agents.profile import of_settings, roles_of
from omx_tasks.agents.run_state import Advance
from omx_tasks.agents.runner import Runner
from omx_tasks.agents.stopwatch import Stopwatch
from omx_tasks.agents.telling import Publisher, Telling
from omx_tasks.agents.turns import Turns
from omx_tasks.agents.warming import policy, ready
from omx_tasks.agents.warming.foresight import Foresight
from omx_tasks.agents.warming.warmer import Warmer
from omx_tasks.agents.wire import Wire
from omx_tasks.errors import OperationError
from omx_tasks.mcp import reaper
from omx_tasks.mcp.circuit import Circuit
from omx_tasks.mcp.config import ServerConfig, ServerFile
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.mcp.session import Session
from omx_tasks.settings import Settings, Told
from omx_tasks.store.client import Store
from omx_tasks.store.courier import Courier

logger = logging.getLogger(__name__)

#: Seconds that closing all sessions may take.
CLOSE = 10.0
#: How much larger than an output may be the message that brings it: what it would be made of is in it once or twice.
LARGER = 2
#: Seconds between two looks at what dead agents left on this machine.
REAP = 30.0


class Host:
    """One agent's warm parts. `start` it once, `stop` it once."""

    #: What makes the calls of operations, and what runs them.
    make_caller: ClassVar[type[Caller]] = Caller
    make_runner: ClassVar[type[Runner]] = Runner

    def __init__(
        self,
        name: str,
        slots: int,
        store: Store,
        servers: ServerFile,
        settings: Settings,
        advance: Advance,
        environ: Mapping[str, str],
        publisher: Publisher | None = None,
    ) -> None:
        self.name = name
        self.loop = LoopThread()
        self._file, self._profile = servers, of_settings(settings, servers)
        servers = servers.only(self._profile.servers)
        self.capabilities = Capabilities(servers.servers, self._profile.words)
        self._store = store
        self._courier = Courier(store, name="runner")
        self._wire = Wire(store, self._courier, batch=settings.batch)
        self._servers = servers
        self._roles = {name: sorted(fills) for name, fills in roles_of(self._file.servers).items()}
        configs = _cached(servers.servers) if settings.cache else servers.servers
        self._slots = slots
        self._catalogue: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._footprint = Footprint()
        self._tells = settings.events_operations if publisher is not None else Told.NONE
        template = self._profile.template
        self._tell = Telling(name, publisher, settings.events_operations, template)
        self._pool = SessionPool(
            configs,
            deadline=settings.server_start_timeout,
            agent=name,
            environ=environ,
            log_dir=settings.log_dir,
            max_message=LARGER * settings.output_limit,
            told=self._told,
            changed=self._circuit_changed,
            recycled=self._tell.recycled,
            share=settings.share,
        )
        self.outages = Outages(
            name, self._pool, self.capabilities, store, settings.server_patience, self._refresh
        )
        self._warmer = Warmer(
            slots,
            policy.of_settings(settings, self._file, self._profile.servers),
            self._pool,
            self.capabilities,
            Foresight(store, name),
            self._refresh,
        )
        self._stopwatch = Stopwatch(self._courier)
        self._affinity = Affinity(
            name, servers.servers, store, self._pool.open_own, self.capabilities.offer
        )
        self._turns = Turns(self._wire, servers.servers, self._pool)
        self.runner = self.make_runner(
            agent=name,
            loop=self.loop,
            wire=self._wire,
            caller=self.make_caller(
                name,
                self._pool,
                servers.servers,
                settings.output_limit,
                self.outages.waits,
                self._warmer.called,
            ),
            affinity=self._affinity,
            advance=advance,
            slots=slots,
            turns=self._turns,
            compress_above=settings.compress_above,
            observe=self._stopwatch.add,
            tell=self._tell,
        )
        self._cancellations = Cancellations(self.runner, self._wire, self._courier)
        self.heartbeat = Heartbeat(
            self._courier, name, self.capabilities, self._record, self._catalogue
        )
        self.liveness = Liveness(store)
        self.tenure = Tenure(
            limit_of(settings),
            settings.agent_operations,
            lambda: self.runner.done,
            self._tell.retires,
        )
        self._pulse = Pulse(settings.pulses and file_of(settings.pulses, name))
        self._chores = Chores(Chore(EVERY, self.tenure.look), Chore(REAP, _reap))

    def __repr__(self) -> str:
        return f"<Host {self.name} servers={sorted(self._servers.servers)}>"

    def start(self) -> None:
        """Open the sessions that are to be open, then report as ready."""
        if self._profile.unfilled:
            logger.warning(
                "template %s goes without %s: no server of %s fills that role",
                self._profile.template,
                ", ".join(self._profile.unfilled),
                self._servers.path,
            )
        self.loop.start()
        self._courier.start()
        self.loop.run(self._pulse.start())
        self.loop.run(self._wire.open())
        self.loop.run(self._cancellations.listen())
        self.loop.run(self._warm())
        self.loop.run(self._affinity.start())
        self.heartbeat.start()
        self._stopwatch.start()
        self._cancellations.start()
        self._chores.start()
        self._tell.agent("started")

    async def _warm(self) -> None:
        await asyncio.gather(
            self._warmer.start(self._wire), asyncio.to_thread(ready.get_ready, self._store)
        )

    def resize(self, slots: int) -> None:
        """Run more or fewer operations at once from now on."""
        self._slots = self._warmer.slots = slots
        self.runner.resize(slots)

    def stop(self, timeout: float) -> None:
        """Let what runs end (for ``timeout`` seconds), carry the last answers, close the sessions."""
        self.runner.drain(timeout)
        self._chores.stop()
        self._tell.close()
        self.heartbeat.stop()
        self._stopwatch.stop()
        self.loop.run(self._wire.close())
        self._courier.stop()
        try:
            self.loop.run(self._close(), timeout=CLOSE)
        except TimeoutError:
            logger.error("sessions of %s could not be closed in %g s", self.name, CLOSE)
        finally:
            self.loop.stop()
            self._store.close()

    async def _close(self) -> None:
        await self._pulse.stop()
        await self._warmer.close()
        await self.outages.close()
        await self._affinity.close()
        await self._pool.close()

    def _told(self, server: str, outcome: Session | OperationError) -> None:
        """Take what became of a server that was to be opened (called on the loop)."""
        self._warmer.told(server, outcome)
        if isinstance(outcome, OperationError):
            if self._failed.get(server) != outcome.message:
                self._tell.server(server, outcome.message)
            self._failed[server] = outcome.message
            return
        if self._failed.pop(server, None) is not None or server not in self._catalogue:
            self._tell.server(server, None)
        self._stopwatch.opened(server, outcome.cold_seconds)
        about = {**outcome.description, "turns": self._turns.of(server)}
        self._catalogue[server] = json.dumps(about)
        self._refresh()

    def _circuit_changed(self, _circuit: Circuit) -> None:
        """Have it shown, and the queues consumed that are to be (called on the loop)."""
        self.outages.look()
        self._refresh()

    def _refresh(self) -> None:
        self.heartbeat.refresh()

    def _record(self) -> str:
        record = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slots": self._slots,
            "busy": self.runner.busy,
            "done": self.runner.done,
            "errors": self.runner.errors,
            "pss": self._footprint.bytes,
            "template": self._profile.template,
            "capabilities": self._profile.said,
            "priorities": [priority.name for priority in self._profile.priorities],
            "unfilled": self._profile.unfilled,
            "roles": self._roles,
            "servers": sorted(self._servers.servers.keys() - self._failed.keys()),
            "failed": dict(self._failed),
            "sessions": [*self._pool.sessions(), *self._affinity.sessions()],
            "warmth": self._warmer.as_json(),
            "circuits": _unwell(self._pool.circuits()),
            "config": self._servers.digest,
            "tells": self._tells,
            **self.liveness.as_json(),
            **self.tenure.as_json(),
        }
        return json.dumps(record)


def _reap() -> None:
    if (count := reaper.reap_orphans()) > 0:
        logger.warning("ended %d processes of servers whose agent is gone", count)


def _unwell(circuits: Mapping[str, Circuit]) -> dict[str, dict[str, Any]]:
    """Return what is said of the circuits that are not closed."""
    return {
        name: {
            "state": one.state,
            "seconds": round(one.unwell, 1),
            "reason": one.reason.message if one.reason else "",
        }
        for name, one in circuits.items()
        if not one.closed
    }


def _cached(servers: Mapping[str, ServerConfig]) -> dict[str, ServerConfig]:
    """Return the servers as if each had ``cache`` in the file."""
    return {
        name: replace(config, hints=replace(config.hints, cache=True))
        for name, config in servers.items()
    }
