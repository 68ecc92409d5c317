"""The duty that says which servers will be called: a forecast of arrivals, for agents that open servers ahead.

What runs need is known from their graphs. What nobody announces, single calls and the first operations of runs, is
forecast for each server from how many came in each of the last minutes (`forecast`). The record lapses soon: without a
coordinator agents go by what they see themselves.
"""

from __future__ import annotations

import json
from collections import defaultdict

from omx_tasks.broker.routing import words_of
from omx_tasks.coordination.leader import Term
from omx_tasks.graph.operation import SERVER
from omx_tasks.monitoring.forecast import forecast
from omx_tasks.monitoring.statistics import arrivals
from omx_tasks.store import keys

#: Minutes that a forecast is made from, and seconds for which it holds.
MINUTES, HOLDS = 60, 90


def expect(term: Term) -> str | None:
    """Forecast the next minute's operations of each server, and write that down."""
    series: dict[str, list[int]] = defaultdict(lambda: [0] * MINUTES)
    for name, counts in arrivals(term.store, MINUTES).items():
        for word in words_of(name):
            if word.startswith(SERVER):
                server = word.removeprefix(SERVER)
                series[server] = [a + b for a, b in zip(series[server], counts, strict=True)]
    expected = {server: round(forecast(counts).expected, 3) for server, counts in series.items()}
    key = keys.expected()
    term.store.command(key, "SET", key, json.dumps(expected), "EX", HOLDS)
    return None
