"""Agents as metrics: how many there are, how busy, which MCP servers they hold and which of those are unwell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import Metric

from omx_tasks.agents.registry import AgentRecord
from omx_tasks.agents.registry import agents as heard
from omx_tasks.monitoring.metrics import bounded, counter, gauge
from omx_tasks.store.client import Store


def agents(store: Store) -> Iterator[Metric]:
    """Give what the agents said of themselves in their last heartbeats."""
    found = heard(store)
    yield from _workload(found)
    yield from _sessions(found)
    yield from _well_being(found)


def _workload(found: list[AgentRecord]) -> Iterator[Metric]:
    count = gauge("omx_agents", "Agents that were heard lately")
    count.add_metric([], len(found))
    yield count
    slots = gauge("omx_agent_slots", "Operations that an agent runs at once at most", "agent")
    busy = gauge("omx_agent_busy_slots", "Operations that an agent runs now", "agent")
    done = counter("omx_agent_operations", "Operations that an agent has finished", "agent")
    for family, values in (
        (slots, [(one.name, float(one.slots)) for one in found]),
        (busy, [(one.name, float(one.busy)) for one in found]),
        (done, [(one.name, float(one.done)) for one in found]),
    ):
        for name, value in bounded(values).items():
            family.add_metric([name], value)
        yield family


def _sessions(found: list[AgentRecord]) -> Iterator[Metric]:
    sessions = gauge("omx_sessions", "Agents with an open session to an MCP server", "server")
    failed = gauge("omx_sessions_failed", "Agents that cannot start an MCP server", "server")
    for family, names in (
        (sessions, Counter(name for one in found for name in one.servers)),
        (failed, Counter(name for one in found for name in one.failed)),
    ):
        for name, value in bounded([(name, float(n)) for name, n in names.items()]).items():
            family.add_metric([name], value)
        yield family
    circuits = gauge(
        "omx_circuits", "Agents that leave an MCP server alone for now", "server", "state"
    )
    states = Counter(
        (name, about["state"]) for one in found for name, about in one.circuits.items()
    )
    for (name, state), value in states.items():
        circuits.add_metric([name, state], value)
    yield circuits


def _well_being(found: list[AgentRecord]) -> Iterator[Metric]:
    silence = gauge(
        "omx_agent_silence_seconds", "How long ago the queue was answered for which that is longest", "agent"
    )  # fmt: skip
    for name, value in bounded(
        [(one.name, one.silence) for one in found if one.silence is not None], sums=False
    ).items():
        silence.add_metric([name], value)
    yield silence
    repaired = counter(
        "omx_agent_queues_repaired", "Silent queues that were attended to anew", "agent"
    )
    for name, value in bounded([(one.name, float(one.repaired)) for one in found]).items():
        repaired.add_metric([name], value)
    yield repaired
