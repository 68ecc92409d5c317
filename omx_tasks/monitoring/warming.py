"""What opening servers ahead cost a run: the seconds for which sessions were open for it and were not called.

A session counts from the run's submission on, or from when it was opened since, until the run's first call on it; one
without a call until the run's end. Sessions of servers that the run does not need are none of its matter. What was
closed before anybody asked is not known any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from omx_tasks.agents.registry import AgentRecord
from omx_tasks.graph.stored import item_of
from omx_tasks.monitoring.marks import Marks
from omx_tasks.runs.history import History


def wasted(history: History, marks: Mapping[str, Marks], records: Iterable[AgentRecord]) -> float:
    """Return the seconds, as the agents that are up know them."""
    first: dict[tuple[str, str], float] = {}
    for name, one in marks.items():
        if one.started:
            place = one.agent, history.plan.steps[item_of(name)[0]].server
            first[place] = min(one.started, first.get(place, one.started))
    total = 0.0
    for record in records:
        for session in record.sessions:
            server, age = session["server"], session["age"]
            if age is None or server not in history.plan.servers:
                continue
            opened = max(record.heard - age, history.created)
            used = min(first.get((record.name, server), history.finished), history.finished)
            total += max(0.0, used - opened)
    return total
