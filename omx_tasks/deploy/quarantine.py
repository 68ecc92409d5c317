"""Finds agents that fail where others do not, by what all of them say of themselves.

A server that no agent can call is the server's trouble. One that an agent has not been able to call for a while, though
another agent with the same server file has a session with it, is the agent's: a new process may do better.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from omx_tasks.agents.registry import AgentRecord

#: Seconds for which an agent could not call a server.
PATIENCE = 30.0
#: Seconds between two agents that are replaced for it: where it does not help, it is not done all the time.
PAUSE = 120.0


def unfit(records: Iterable[AgentRecord], mine: Collection[str]) -> dict[str, str]:
    """Return those of the agents ``mine`` (nodes) that others do better than, and what was said against them."""
    known = list(records)
    found = {}
    for one in known:
        for server, circuit in one.circuits.items() if one.name in mine else ():
            better = next((other.name for other in known if _calls(other, one, server)), None)
            if better is not None and circuit["seconds"] >= PATIENCE:
                found[one.name] = (
                    f"could not call server {server!r} for {circuit['seconds']:.0f} s though {better} can: "
                    f"{circuit['reason']}"
                )
    return found


def _calls(other: AgentRecord, one: AgentRecord, server: str) -> bool:
    """Whether another agent can call a server of the same file."""
    return other.config == one.config and any(
        session["server"] == server and session["state"] in ("idle", "busy")
        for session in other.sessions
    )
