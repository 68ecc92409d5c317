"""Finds agents that went without a word, and tells of each once: ``agent.lost``.

An agent that ends in good order leaves the list of agents and tells so itself. One is lost when it stays in the list
and is silent, or when another process has its name and it had not said that it stops. An agent that was only cut off
and is heard again can be lost once more, with a later beat.
"""

from __future__ import annotations

import json
from typing import Any

from omx_tasks.agents.registry import SILENT
from omx_tasks.coordination.leader import Term
from omx_tasks.coordination.told import ended_in_order
from omx_tasks.events.bus import Draft
from omx_tasks.events.now import publish_once
from omx_tasks.settings import Settings
from omx_tasks.store import keys
from omx_tasks.store.client import Store

NAME = "agents"
#: Seconds for which is known that an agent was lost: what it did not tell is told by then.
KNOWN = 3600.0

#: What is known of an agent: host, pid, when it was heard (s), and whether it was told to be lost.
Known = dict[str, Any]


class AgentsDuty:
    """The duty `NAME`. ``silent``: seconds after which an agent is lost."""

    def __init__(self, given: Settings, silent: float = SILENT) -> None:
        self._given, self._silent = given, silent

    def __call__(self, term: Term) -> str | None:
        """Compare the agents that are there with those that were, and tell of the lost."""
        now, listed = _listed(term.store)
        memory = term.recall(NAME) or {"agents": {}, "lost": {}}
        before: dict[str, Known] = memory["agents"]
        lost: dict[str, Known] = {}
        for name, one in listed.items():
            known = before.get(name)
            if known and not known["lost"] and self._was_replaced(term.store, name, known, one):
                lost[name] = known
            if one["heard"] + self._silent < now:
                one["lost"] = True
                if not (known and known["lost"] and known["heard"] == one["heard"]):
                    lost[name] = one
        publish_once(term.store, self._given, dict(_event(*pair) for pair in lost.items()))
        recently = {
            name: heard for name, heard in memory["lost"].items() if heard + KNOWN > now
        } | {name: one["heard"] for name, one in lost.items()}
        term.keep(NAME, {"agents": listed, "lost": recently})
        return f"lost {', '.join(lost)}" if lost else None

    def _was_replaced(self, store: Store, name: str, known: Known, one: Known) -> bool:
        """Whether another process has an agent's name that had not said that it stops."""
        if (known["host"], known["pid"]) == (one["host"], one["pid"]):
            return False
        return not ended_in_order(store, self._given, name, known["heard"])


def lost_agents(term: Term) -> dict[str, float]:
    """Return the agents that were lost lately, and when they were heard last."""
    memory = term.recall(NAME)
    return {} if memory is None else dict(memory["lost"])


def _listed(store: Store) -> tuple[float, dict[str, Known]]:
    """Return the cluster's time, and what is known of each agent in the list."""
    key = keys.agents()
    (seconds, _), answer = store.commands([(key, ("TIME",)), (key, ("HGETALL", key))])
    found = {}
    for name, text in answer.items():
        heard, _, record = text.partition(b" ")
        if heard.isdigit():
            about = json.loads(record)
            found[name.decode()] = {
                "host": about["host"],
                "pid": about["pid"],
                "heard": int(heard) / 1000,
                "lost": False,
            }
    return float(seconds), found


def _event(name: str, one: Known) -> tuple[str, Draft]:
    said = {"agent": name, "host": one["host"], "pid": one["pid"], "heard": one["heard"]}
    return f"agent.lost:{name}:{one['pid']}:{one['heard']}", Draft("agent.lost", said, key=name)
