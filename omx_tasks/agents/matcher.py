"""Says why nobody can take an operation, before anything is queued.

::

    a word that no template has ─────────────────────────────► wrong: no agent could ever take it
    no agent that is up offers all words with all servers ───► not now, because …
        no template has all of the words                         these come nearest, and lack …
        none of those that have them serves the priority         they serve …
        none of those may hold a server                          its role can be said in the server file
        an agent of one is up without a server                   why that is broken
        none of them is up                                       start one: …

What is wrong is always refused. What nobody can take now is refused as well, since it would wait in silence; who wants
just that says so. Nothing here asks anybody: what is known of agents and templates is given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from omx_tasks.agents.profile import ALL_WORDS, filled
from omx_tasks.agents.registry import AgentRecord
from omx_tasks.agents.templates import Catalogue, Template
from omx_tasks.errors import ConfigurationError, GraphError, did_you_mean
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.operation import SERVER
from omx_tasks.graph.strict import prefixed
from omx_tasks.priorities import Priority

#: Of more templates, agents or problems than so many, these are named.
NAMED, MOST_PROBLEMS = 3, 25
QUEUE_ANYWAY = (
    "To have it queued all the same, until such an agent is up: `omx run --wait-for-agents`, or wait_for_agents "
    "where a program asks"
)


@dataclass(frozen=True)
class Wanted:
    """What an operation asks of an agent."""

    servers: frozenset[str]
    words: frozenset[str]
    priority: Priority

    @classmethod
    def by(cls, operation: Operation) -> Wanted:
        """Return what this operation asks."""
        said = operation.capabilities
        servers = {word.removeprefix(SERVER) for word in said if word.startswith(SERVER)}
        words = {word for word in said if not word.startswith(SERVER)}
        return cls(frozenset(servers), frozenset(words), operation.priority)

    def __str__(self) -> str:
        noun = "server" if len(self.servers) == 1 else "all of the servers"
        place = f"{noun} {_list(self.servers)}"
        return f"{_list(self.words)} with {place}" if self.words else place


def check_words(graph: Graph, known: Collection[str], source: str = "") -> None:
    """Raise `GraphError` where operations require capability words that there are not."""
    problems = [
        f"operation {operation.id!r}: requires {word!r}, which no template offers."
        f"{did_you_mean(word, known)} `omx agents templates` lists what they offer"
        for operation in graph.operations
        for word in operation.requires
        if not word.startswith(SERVER) and word not in known
    ]
    if problems:
        raise GraphError(prefixed(source, problems[:MOST_PROBLEMS]))


class Matcher:
    """``agents`` are those that are up, ``catalogue`` holds the templates that there are."""

    def __init__(self, catalogue: Catalogue, agents: Iterable[AgentRecord]) -> None:
        self._catalogue = catalogue
        self._agents = list(agents)
        self._offers = [(agent, self._words_of(agent)) for agent in self._agents]
        #: Every word that a template or an agent has.
        self.words = catalogue.words.union(*(words for _, words in self._offers))
        #: The servers of the agents' files, with the roles that they fill.
        self.roles: dict[str, frozenset[str]] = {
            server: frozenset(roles)
            for agent in self._agents
            for server, roles in agent.roles.items()
        }

    def __repr__(self) -> str:
        return f"<Matcher of {len(self._agents)} agents, {len(self._catalogue)} templates>"

    def check(self, graph: Graph, source: str = "", *, wait: bool = False) -> None:
        """Raise `GraphError` where no agent could ever take an operation, `ConfigurationError` where none can now.

        With ``wait`` what none can take now is let pass.
        """
        check_words(graph, self.words, source)
        if wait:
            return
        first = {Wanted.by(operation): operation.id for operation in reversed(graph.operations)}
        problems = [
            f"operation {name!r}: {why}"
            for wanted, name in reversed(first.items())
            if (why := self.why_not(wanted)) is not None
        ]
        if problems:
            told = prefixed(source, problems[:MOST_PROBLEMS])
            raise ConfigurationError(f"{told}\n{QUEUE_ANYWAY}")

    def why_not(self, wanted: Wanted) -> str | None:
        """Return why no agent that is up takes this, and what can be done; None where one does."""
        if any(self._takes(agent, words, wanted) for agent, words in self._offers):
            return None
        able = [one for one in self._catalogue.values() if wanted.words <= {*one.capabilities}]
        if not able:
            return self._none_has_all(wanted)
        serving = [one for one in able if wanted.priority in one.priorities]
        if not serving:
            served = _each(f"{one.name} serves {spelled(one.priorities)}" for one in able)
            return (
                f"no template that offers {_list(wanted.words)} serves {wanted.priority.name} ({served}): give it "
                "another priority, or start an agent without a template, which serves all"
            )
        fitting = [one for one in serving if wanted.servers <= self._held(one)]
        broken = self._broken(wanted, {one.name for one in fitting})
        return f"no agent that is up has {wanted}{self._at(wanted)}; " + (
            broken or (_start(fitting) if fitting else self._none_holds(wanted, serving))
        )

    def _words_of(self, agent: AgentRecord) -> frozenset[str]:
        own = frozenset(agent.capabilities)
        return own | self._catalogue.words if ALL_WORDS in own else own

    @staticmethod
    def _takes(agent: AgentRecord, words: frozenset[str], wanted: Wanted) -> bool:
        serves = wanted.priority.name in agent.priorities
        return serves and wanted.servers <= {*agent.servers} and wanted.words <= words

    def _at(self, wanted: Wanted) -> str:
        """Name the priority where it is all that is in the way."""
        less_urgent = (replace(wanted, priority=other) for other in Priority)
        could = any(self._takes(*offer, other) for other in less_urgent for offer in self._offers)
        return f" and serves {wanted.priority.name}" if could else ""

    def _held(self, template: Template) -> set[str]:
        """Return the servers that an agent of this template would hold."""
        return {name for names in filled(template, self.roles).values() for name in names}

    def _none_has_all(self, wanted: Wanted) -> str:
        lacks = {one.name: wanted.words.difference(one.capabilities) for one in self._near(wanted)}
        nearest = _each(f"{name} lacks {_list(words)}" for name, words in lacks.items())
        return (
            f"no template offers all of {_list(wanted.words)} ({nearest}): require less of one operation, write a "
            "template of your own (OMX_TEMPLATES), or start an agent without one, which offers everything"
        )

    def _near(self, wanted: Wanted) -> list[Template]:
        """Return the templates that have most of the words, the nearest first."""

        def shared(template: Template) -> int:
            return len(wanted.words.intersection(template.capabilities))

        return sorted(filter(shared, self._catalogue.values()), key=shared, reverse=True)

    def _broken(self, wanted: Wanted, fitting: Collection[str]) -> str:
        """Tell of an agent that would take it, were its server not broken."""
        for agent, words in self._offers:
            lacking = wanted.servers.difference(agent.servers)
            if lacking <= agent.failed.keys() and (
                agent.template in fitting or wanted.words <= words
            ):
                reasons = "; ".join(agent.failed[name] for name in sorted(lacking))
                if reasons:
                    return f"{agent.name} ({agent.template}) is up without it: {reasons}"
        return ""

    def _none_holds(self, wanted: Wanted, serving: list[Template]) -> str:
        """Tell which servers none of these templates may hold."""
        ready = sorted(serving, key=lambda one: len(wanted.servers - self._held(one)))
        best = ready[0]
        lacking = sorted(wanted.servers - self._held(best))
        who = _each(one.name for one in ready) + (" offers it" if len(ready) == 1 else " offer it")
        roles = ", ".join(f'"{role}"' for role in best.servers)
        return (
            f"{who}, but may not hold {_list(lacking)}: say in the server file which role that fills, one of {roles} "
            f'("omx": {{"roles": ["{best.servers[0]}"]}}), or start an agent without a template, which holds all'
        )


def spelled(priorities: Iterable[Priority]) -> str:
    """Return priorities as a person reads them: ``P0-P2``, or ``P0 P3``."""
    names = [priority.name for priority in priorities]
    numbers = [int(name[1]) for name in names]
    joined = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return f"{names[0]}-{names[-1]}" if joined and len(names) > 1 else " ".join(names)


def _start(fitting: list[Template]) -> str:
    """Say how to start one; those of which agents are kept warm anyway come first."""
    ordered = sorted(fitting, key=lambda one: (-one.warm.min, -one.warm.max, one.name))
    first, *others = (one.name for one in ordered)
    more = f" (or {_each(others)})" if others else ""
    return f"start one: `omx agent start {first}`{more}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _each(texts: Iterable[str]) -> str:
    """Join the first few."""
    found = list(texts)
    more = f", … ({len(found) - NAMED} more)" if len(found) > NAMED else ""
    return ", ".join(found[:NAMED]) + more
