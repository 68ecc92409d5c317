"""All sections of the system's metrics."""

from __future__ import annotations

from omx_tasks.monitoring.metrics import Section
from omx_tasks.monitoring.sections.agents import agents
from omx_tasks.monitoring.sections.cluster import cluster
from omx_tasks.monitoring.sections.coordinators import coordinators
from omx_tasks.monitoring.sections.events import events
from omx_tasks.monitoring.sections.operations import Operations
from omx_tasks.monitoring.sections.queues import queues
from omx_tasks.monitoring.sections.runs import runs
from omx_tasks.monitoring.sections.scaling import scaling
from omx_tasks.monitoring.sections.targets import targets
from omx_tasks.settings import Settings


def sections(given: Settings) -> dict[str, Section]:
    """Return what is read at each scrape, by name."""
    return {
        "queues": queues,
        "agents": agents,
        "scaling": scaling,
        "cluster": cluster,
        "runs": runs,
        "operations": Operations(),
        "events": events(given.events_partitions),
        "coordinators": coordinators,
        "targets": targets(given),
    }
