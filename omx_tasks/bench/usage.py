"""What processes use: processor seconds and memory, by the part that they play."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.memory import part_of

#: Processes by part: agents, MCP servers, Redis servers, and the bench itself as the producer.
Parts = Mapping[str, Iterable[psutil.Process]]


def parts_of(agents: Iterable[int], cluster: Path) -> dict[str, list[psutil.Process]]:
    """Return the processes of a system, from its agents' ids and its cluster's folder."""
    found = [psutil.Process(pid) for pid in agents]
    nodes = EmbeddedCluster.existing(cluster).status().nodes
    return {
        "agent": found,
        "server": [child for agent in found for child in agent.children(recursive=True)],
        "redis": [psutil.Process(node.pid) for node in nodes if node.pid],
        "producer": [psutil.Process()],
    }


def processor_seconds(parts: Parts) -> dict[str, float]:
    """Return the processor time that each part has used up to now."""
    return _sums(parts, lambda process: sum(process.cpu_times()[:2]))


def memory(parts: Parts) -> dict[str, float]:
    """Return the bytes that each part has to itself, shared ones by their share where the system counts it (PSS)."""
    return _sums(parts, part_of)


def _sums(parts: Parts, measure: Callable[[psutil.Process], float]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for part, processes in parts.items():
        sums[part] = 0.0
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                sums[part] += measure(process)
    return sums
