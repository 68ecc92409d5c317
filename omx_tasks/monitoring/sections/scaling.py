"""How many agents there are to be, as metrics: an external scaler (of containers, say) can act on them.

A scaler that divides nothing and multiplies nothing, only sets the number of agents of a template to
``omx_agents_wanted``, does what a nursery does. Where no coordinator leads they are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from omx_tasks.coordination import decided
from omx_tasks.coordination.decided import Decided
from omx_tasks.monitoring.metrics import bounded, gauge
from omx_tasks.store.client import Store

_NUMBERS: tuple[tuple[str, str, Callable[[Decided], float]], ...] = (
    ("omx_agents_wanted", "Agents that there are to be", lambda one: one.wanted),
    ("omx_agents_running", "Agents that are warm", lambda one: one.running),
    ("omx_agents_least", "Agents that there are to be at least", lambda one: one.least),
    ("omx_agents_most", "Agents that there are to be at most", lambda one: one.most),
)


def scaling(store: Store) -> Iterator[Metric]:
    """Give what the leading coordinator decided last, by template."""
    found = decided.read(store)
    for name, meaning, number in _NUMBERS:
        family = gauge(name, meaning, "template")
        sums: dict[str, float] = {}
        for one in found:
            sums[one.template] = sums.get(one.template, 0.0) + number(one)
        for template, value in bounded(list(sums.items())).items():
            family.add_metric([template], value)
        yield family
    wait = gauge(
        "omx_agents_expected_wait_seconds", "How long the next operation is expected to wait for a slot", "template"
    )  # fmt: skip
    longest: dict[str, float] = {}
    for one in found:
        seconds = math.inf if one.wait is None else one.wait
        longest[one.template] = max(longest.get(one.template, 0.0), seconds)
    for template, value in bounded(list(longest.items()), sums=False).items():
        wait.add_metric([template], value)
    yield wait
