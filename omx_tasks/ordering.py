"""What a producer asks for with a plain Celery message: a run of a graph, and how a run is.

It needs Celery and the transport, or any program that writes Celery's messages (protocol 2, JSON)::

    omx.run     {"graph": {…}, "inputs": {…}, "timeout": 60, "wait_for_agents": false}   its result: the run's id
    omx.result  {"run": "…", "wait": 10}    its result: what `omx result --json` prints, the run over or not

An agent that takes an order checks it as the command line does; what is wrong makes a failed task whose error says
what to mend, an event ``run.refused``, and nothing queued. An order that is delivered twice is one run: which one is
written down under the order's id before it begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from omx_tasks import settings
from omx_tasks.api import Run, submit_graph
from omx_tasks.events import refusals
from omx_tasks.graph.model import Graph
from omx_tasks.graph.strict import Strict
from omx_tasks.runs.submit import new_run_id
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds for which one question may keep a thread of an agent.
LONGEST_WAIT = 60.0


class Order(Strict):
    """A run that is asked for."""

    graph: dict[str, Any] = Field(description="a graph: a mapping with name and operations")
    inputs: dict[str, Any] = Field({}, description="a mapping from names of inputs to values")
    timeout: float | None = Field(
        None, gt=0, allow_inf_nan=False, strict=True, description="a number of seconds above 0"
    )
    wait_for_agents: bool = Field(False, strict=True, description="true or false")


class Question(Strict):
    """How a run is; ``wait``: seconds to wait for its end, if it is not over."""

    run: str = Field(strict=True, description="a run's id")
    wait: float = Field(
        0.0, ge=0, le=LONGEST_WAIT, strict=True, description="a number of seconds from 0 to 60"
    )


def place(store: Store, order_id: str, asked: Mapping[str, Any]) -> str:
    """Check an order, submit its graph and return the run's id; once more, only return it.

    Raises `UsageError` where it is refused, `UnavailableError` where it is to be placed again.
    """
    with refusals.told(store, _name(asked), ""):
        order = Order(**asked)
        graph = Graph.from_data(order.graph)
    run_id = _run_of(store, order_id)
    if store.command(keys.run(run_id), "EXISTS", keys.run(run_id)):
        return run_id
    return submit_graph(
        store,
        graph,
        order.inputs,
        timeout=order.timeout,
        wait_for_agents=order.wait_for_agents,
        run_id=run_id,
    ).id


def answer(store: Store, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a run is, as JSON, after waiting for its end for as long as is asked."""
    question = Question(**asked)
    run = Run(question.run, store)
    if question.wait:
        for _ in run.changes(question.wait):
            pass
    return run.status().as_json()


def _run_of(store: Store, order_id: str) -> str:
    """Return the run that an order became, or is to become."""
    key, fresh = keys.order(order_id), new_run_id()
    keep = max(1, round(settings.current().keep_runs))
    before = store.command(key, "SET", key, fresh, "NX", "GET", "EX", keep)
    return before.decode() if before else fresh


def _name(asked: Mapping[str, Any]) -> str:
    """Return the graph's name as far as it can be told."""
    graph = asked.get("graph")
    name = graph.get("name") if isinstance(graph, Mapping) else None
    return name if isinstance(name, str) else ""
