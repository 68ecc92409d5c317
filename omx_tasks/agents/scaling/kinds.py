"""Agents of one kind: same template, same servers; in nurseries, which can be told to have more or fewer, and outside.

What is started outside of nurseries (containers, a service manager) is counted, and how many there should be is said;
its own scaler has to act on that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from omx_tasks.agents.profile import ALL_WORDS
from omx_tasks.agents.registry import AgentRecord
from omx_tasks.agents.scaling.nurseries import NurseryRecord
from omx_tasks.broker.routing import words_of
from omx_tasks.graph.operation import SERVER
from omx_tasks.priorities import Priority


@dataclass
class Kind:
    """``agents`` are all that are up, ``outside`` says how many of them are in no nursery."""

    template: str
    servers: frozenset[str]
    words: frozenset[str] = frozenset()
    priorities: frozenset[Priority] = frozenset()
    nurseries: list[NurseryRecord] = field(default_factory=list)
    agents: list[AgentRecord] = field(default_factory=list)
    outside: int = 0

    @property
    def name(self) -> str:
        """Its name among all kinds, where nothing has changed."""
        return f"{self.template}: {' '.join(sorted(self.servers))}"

    @property
    def slots(self) -> int:
        """The slots of one agent."""
        of_agents = [one.slots for one in self.agents]
        return max([*(one.slots for one in self.nurseries), *of_agents], default=1)

    @property
    def callable(self) -> frozenset[str]:
        """The servers that an agent can call; where none is up, all that it would hold."""
        if not self.agents:
            return self.servers
        return frozenset().union(*(set(one.servers) - one.circuits.keys() for one in self.agents))

    def covers(self, capability_set: str) -> bool:
        """Whether its agents take operations that require this."""
        words = words_of(capability_set)
        servers = {word.removeprefix(SERVER) for word in words if word.startswith(SERVER)}
        others = {word for word in words if not word.startswith(SERVER)}
        return servers <= self.callable and (ALL_WORDS in self.words or others <= self.words)


def kinds_of(nurseries: Iterable[NurseryRecord], agents: Iterable[AgentRecord]) -> list[Kind]:
    """Return the kinds that there are, in the order of their names."""
    kinds: dict[tuple[str, frozenset[str]], Kind] = {}
    homes: dict[str, Kind] = {}
    draining = set()
    for nursery in nurseries:
        kind = _kind(kinds, nursery.template, nursery.servers)
        kind.nurseries.append(nursery)
        _offer(kind, nursery.capabilities, nursery.priorities)
        homes |= dict.fromkeys(nursery.agents, kind)
        draining |= {name for name, one in nursery.agents.items() if one["state"] == "draining"}
    for agent in agents:
        if agent.name in draining:
            continue
        home = homes.get(agent.name)
        kind = home or _kind(kinds, agent.template, {*agent.servers, *agent.failed})
        kind.agents.append(agent)
        kind.outside += home is None
        _offer(kind, agent.capabilities, agent.priorities)
    return sorted(kinds.values(), key=lambda kind: kind.name)


def _kind(
    kinds: dict[tuple[str, frozenset[str]], Kind], template: str, servers: Iterable[str]
) -> Kind:
    held = frozenset(servers)
    return kinds.setdefault((template, held), Kind(template, held))


def _offer(kind: Kind, words: Iterable[str], priorities: Iterable[str]) -> None:
    kind.words |= set(words)
    kind.priorities |= {Priority[name] for name in priorities}
