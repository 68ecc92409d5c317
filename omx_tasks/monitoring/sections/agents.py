"""Agents as metrics: how many there are, how busy, which MCP servers they hold and which of those are unwell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from omx_tasks.agents.registry import AgentRecord, accepted_alone
from omx_tasks.agents.registry import agents as heard
from omx_tasks.monitoring.metrics import OTHER, bounded, counter, filled, gauge
from omx_tasks.store.client import Store


def agents(store: Store) -> Iterator[Metric]:
    """Give what the agents said of themselves in their last heartbeats."""
    found = heard(store)
    yield from _workload(found)
    yield from _sessions(found)
    yield from _well_being(found)


def _workload(found: list[AgentRecord]) -> Iterator[Metric]:
    count = gauge("omx_agents", "Agents that were heard lately", "template")
    yield filled(count, Counter(one.template for one in found).items())
    template = {one.name: one.template for one in found}
    labels = ("agent", "template")
    slots = gauge("omx_agent_slots", "Operations that an agent runs at once at most", *labels)
    busy = gauge("omx_agent_busy_slots", "Operations that an agent runs now", *labels)
    done = counter("omx_agent_operations", "Operations that an agent has finished", *labels)
    memory = gauge("omx_agent_memory_bytes", "Memory of an agent, without its servers", *labels)
    cold = counter("omx_agent_cold_starts", "Calls that had to wait for a server", *labels)
    opened = counter("omx_agent_sessions_opened", "Sessions that an agent has opened", *labels)
    evicted = counter("omx_agent_sessions_evicted", "Sessions closed for want of use", *labels)
    of: tuple[
        tuple[GaugeMetricFamily | CounterMetricFamily, Callable[[AgentRecord], float]], ...
    ] = (
        (slots, lambda one: one.slots),
        (busy, lambda one: one.busy),
        (done, lambda one: one.done),
        (memory, lambda one: one.pss),
        (cold, lambda one: one.warmth.get("cold_starts", 0)),
        (opened, lambda one: one.warmth.get("opened", 0)),
        (evicted, lambda one: one.warmth.get("evicted", 0)),
    )
    for family, value_of in of:
        for name, value in bounded([(one.name, value_of(one)) for one in found]).items():
            family.add_metric([name, template.get(name, OTHER)], value)
        yield family


def _sessions(found: list[AgentRecord]) -> Iterator[Metric]:
    sessions = gauge("omx_sessions", "Agents with an open session to an MCP server", "server")
    yield filled(sessions, Counter(name for one in found for name in one.open).items())
    failed = gauge("omx_sessions_failed", "Agents that cannot start an MCP server", "server")
    yield filled(failed, Counter(name for one in found for name in one.failed).items())
    yield from _servers([session for one in found for session in one.sessions])
    circuits = gauge(
        "omx_circuits", "Agents that leave an MCP server alone for now", "server", "state"
    )
    states = Counter(
        (name, about["state"]) for one in found for name, about in one.circuits.items()
    )
    for (name, state), value in states.items():
        circuits.add_metric([name, state], value)
    yield circuits


def _servers(sessions: list[dict[str, Any]]) -> Iterator[Metric]:
    calls: Counter[str] = Counter()
    memory: Counter[str] = Counter()
    recycled: Counter[str] = Counter()
    for session in sessions:
        calls[session["server"]] += session["calls"]
        memory[session["server"]] += session["rss"]
        recycled[session["server"]] += session["recycled"]
    yield filled(
        gauge(
            "omx_session_calls", "Calls that are under way on the sessions of a server", "server"
        ),
        calls.items(),
    )
    yield filled(
        gauge("omx_session_memory_bytes", "Memory that the processes of a server use", "server"),
        memory.items(),
    )
    yield filled(
        gauge("omx_session_recycled", "Replacements of a server for its memory, by agents that are there", "server"),
        recycled.items(),
    )  # fmt: skip


def _well_being(found: list[AgentRecord]) -> Iterator[Metric]:
    silence = gauge(
        "omx_agent_silence_seconds", "How long ago the queue was answered for which that is longest", "agent"
    )  # fmt: skip
    heard_of = [(one.name, one.silence) for one in found if one.silence is not None]
    yield filled(silence, heard_of, sums=False)
    repaired = counter(
        "omx_agent_queues_repaired", "Silent queues that were attended to anew", "agent"
    )
    yield filled(repaired, [(one.name, one.repaired) for one in found])
    alone = counter(
        "omx_writes_without_replica", "Writes accepted by a master without a replica", "master"
    )
    yield filled(alone, accepted_alone(found).items())
