"""What one agent is: its template, with the roles filled by the servers of the user's file.

A server fills a role when it has the role's name, or when its ``omx`` key names it: ``"omx": {"roles": ["git"]}``.
Several may fill one; the agent then holds them all. A role that none fills is done without, and said. An agent without
a template (``OMX_TEMPLATE`` unset) offers everything: all servers of the file, all words of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omx_tasks.agents import templates
from omx_tasks.agents.templates import EVERYTHING, Template
from omx_tasks.errors import ConfigurationError
from omx_tasks.mcp.config import ServerConfig, ServerFile
from omx_tasks.priorities import Priority
from omx_tasks.settings import Settings

#: Stands in an agent's record for all words of the catalogue.
ALL_WORDS = "*"


@dataclass(frozen=True)
class Profile:
    """``servers`` are names in the file, ``unfilled`` roles that no server of it fills; ``said`` is for the record."""

    template: str
    words: frozenset[str]
    servers: frozenset[str]
    slots: int
    priorities: tuple[Priority, ...] = tuple(Priority)
    unfilled: tuple[str, ...] = ()
    said: tuple[str, ...] = ()


def of_settings(settings: Settings, file: ServerFile) -> Profile:
    """Return what an agent with these settings is; raises `ConfigurationError` or `NotFoundError`."""
    catalogue = templates.load(settings.templates)
    if settings.template in (None, EVERYTHING):
        held, slots = frozenset(file.servers), settings.slots
        return Profile(EVERYTHING, catalogue.words, held, slots, said=(ALL_WORDS,))
    return fitted(catalogue.find(settings.template), file, slots=slots_of(settings))


def fitted(template: Template, file: ServerFile, slots: int | None = None) -> Profile:
    """Return what an agent of this template is with the servers of a file."""
    filling = filled(template, roles_of(file.servers))
    if not any(filling.values()):
        raise ConfigurationError(
            f"template {template.name}: no server of {file.path} fills one of its roles "
            f"({', '.join(template.servers)}). Name a server so, or say it of one: "
            f'"omx": {{"roles": ["{template.servers[0]}"]}}'
        )
    return Profile(
        template.name,
        frozenset(template.capabilities),
        frozenset(server for servers in filling.values() for server in servers),
        template.slots if slots is None else slots,
        template.priorities,
        tuple(role for role, servers in filling.items() if not servers),
        template.capabilities,
    )


def slots_of(settings: Settings) -> int:
    """Return the slots that were asked for, else the template's, else the default."""
    if settings.template in (None, EVERYTHING):
        return settings.slots
    template = templates.load(settings.templates).find(settings.template)
    return settings.slots if "slots" in settings.model_fields_set else template.slots


def priorities_of(settings: Settings) -> tuple[Priority, ...]:
    """Return the priorities that an agent with these settings serves."""
    if settings.template in (None, EVERYTHING):
        return tuple(Priority)
    return templates.load(settings.templates).find(settings.template).priorities


def roles_of(servers: Mapping[str, ServerConfig]) -> dict[str, frozenset[str]]:
    """Return the roles that each server fills."""
    return {name: config.hints.roles | {name} for name, config in servers.items()}


def filled(template: Template, roles: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
    """Return the servers that fill each role of a template."""
    return {
        role: sorted(server for server, fills in roles.items() if role in fills)
        for role in template.servers
    }
