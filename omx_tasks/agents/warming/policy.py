"""Which servers an agent opens before they are called: what `OMX_WARM` says, and the server file.

========== =====================================================================================
``all``     every server, when the agent starts, for as long as it lives
``planned`` those that runs which were submitted will need, or that are expected to be called
names       these, when the agent starts, for as long as it lives; also such with ``"warm": true``
``none``    no more than that
========== =====================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

from omx_tasks import sizes
from omx_tasks.agents import templates
from omx_tasks.agents.templates import EVERYTHING
from omx_tasks.errors import ConfigurationError, did_you_mean
from omx_tasks.mcp.config import ServerFile
from omx_tasks.settings import Settings

ALL, PLANNED, NONE = "all", "planned", "none"
#: Seconds of rest after which a server is closed that an agent without a template holds.
IDLE = 600.0


@dataclass(frozen=True)
class Policy:
    """``always`` are open from start to end; ``idle`` is seconds, ``memory`` bytes (None: no limit)."""

    everything: bool
    planned: bool
    always: frozenset[str]
    idle: float = IDLE
    memory: int | None = None


def of_settings(settings: Settings, file: ServerFile, held: frozenset[str]) -> Policy:
    """Return the policy of an agent that holds these servers of the file; raises `ConfigurationError`."""
    words = frozenset(word.strip() for word in settings.warm.split(",") if word.strip())
    names = words - {ALL, PLANNED, NONE}
    for name in sorted(names - file.servers.keys()):
        raise ConfigurationError(
            f"OMX_WARM: {name!r} is no server of {file.path}."
            f"{did_you_mean(name, [*file.servers, ALL, PLANNED, NONE])} "
            f"Say {ALL}, {PLANNED}, {NONE}, or servers that are always to be open"
        )
    if not words or (words & {ALL, NONE} and len(words) > 1):
        raise ConfigurationError(
            f"OMX_WARM={settings.warm!r}: {ALL} and {NONE} stand alone; {PLANNED} may go with names of servers"
        )
    marked = {name for name, server in file.servers.items() if server.hints.warm}
    everything = ALL in words
    always = held if everything else held & (names | marked)
    idle, memory = _limits(settings)
    return Policy(everything, PLANNED in words, always, idle, memory)


def _limits(settings: Settings) -> tuple[float, int | None]:
    """Return the seconds of rest and the bytes: as they were asked for, else the template's."""
    idle, memory = IDLE, None
    if settings.template not in (None, EVERYTHING):
        template = templates.load(settings.templates).find(settings.template)
        idle, memory = template.warm.idle, template.memory
    try:
        given = None if settings.warm_memory is None else sizes.parse(settings.warm_memory)
    except ValueError as error:
        raise ConfigurationError(f"OMX_WARM_MEMORY={settings.warm_memory!r}: {error}") from error
    return settings.warm_idle or idle, given or memory
