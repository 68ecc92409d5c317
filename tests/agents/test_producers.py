"""Who has only Celery orders runs with plain messages, and is told what is wrong as the command line tells it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet

from omx_tasks import Priority, Run, ordering
from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.errors import NotFoundError, UsageError
from omx_tasks.events.watch import Watch
from omx_tasks.store import keys
from omx_tasks.store.client import Store

PRODUCER = Path(__file__).parent / "producer.py"
NOW = {"id": "now", "server": "time", "tool": "get_current_time", "arguments": {"timezone": "UTC"}}


def _sent(shared: Fleet, task: str, order: str | None = None, **kwargs: object) -> Any:
    """Send a task from a process of its own, and return what that saw."""
    done = subprocess.run(
        [sys.executable, str(PRODUCER)],
        input=json.dumps({"task": task, "kwargs": kwargs, "id": order}),
        env={**os.environ, "OMX_BROKER_URL": shared.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _graph(**fields: object) -> dict[str, object]:
    return {"name": "ordered", "operations": [{**NOW, **fields}]}


def _refused(store: Store) -> set[str]:
    """Return the names of all graphs that were refused."""
    found = Watch(store).before(100_000)
    return {event.data["name"] for event in found if event.type == "run.refused"}


def test_a_process_with_only_celery_orders_a_run_and_asks_for_its_result(shared: Fleet) -> None:
    order = uuid.uuid4().hex
    run = _sent(shared, "omx.run", order, graph=_graph(priority="P0"))["result"]
    view = _sent(shared, "omx.result", run=run, wait=30)["result"]
    assert (view["run"], view["state"]) == (run, "succeeded")
    assert "datetime" in view["operations"]["now"]["structured"]
    assert _sent(shared, "omx.run", order, graph=_graph()) == {"result": run}


def test_a_mistake_makes_a_failed_task_that_says_what_to_mend(shared: Fleet, store: Store) -> None:
    before = store.command(keys.runs(), "ZCARD", keys.runs())
    answer = _sent(shared, "omx.run", graph=_graph(tool="get_curent_time"))
    assert answer["error"] == "GraphError"
    assert "Did you mean 'get_current_time'?" in answer["message"]
    assert store.command(keys.runs(), "ZCARD", keys.runs()) == before


CYCLE = [{**NOW, "id": "a", "needs": ["b"]}, {**NOW, "id": "b", "needs": ["a"]}]
MISTAKES = [
    ({}, "key 'graph' is missing; give a graph"),
    ({"graph": "notes.yaml"}, "graph must be a graph: a mapping with name and operations, not"),
    ({"graph": _graph(), "input": {}}, "unknown key 'input'. Did you mean 'inputs'?"),
    ({"graph": _graph(), "inputs": {"n": 1}}, "unknown input 'n'"),
    ({"graph": _graph(), "timeout": 0}, "timeout must be a number of seconds above 0"),
    ({"graph": _graph(server="tme")}, "unknown server 'tme'. Did you mean 'time'?"),
    ({"graph": _graph(arguments={})}, "requires the argument 'timezone'"),
    ({"graph": _graph(arguments={"timezone": "${x.text}"})}, "which is no operation of this graph"),
    ({"graph": _graph(requires=["documentation_revew"])}, "which no template offers"),
    (
        {"graph": {"name": "ring", "operations": CYCLE}},
        "these operations wait for each other: a → b → a",
    ),
]


@pytest.mark.parametrize(("asked", "problem"), MISTAKES, ids=[problem for _, problem in MISTAKES])
def test_an_order_is_checked_as_the_command_line_checks_before_anything_is_queued(
    shared: Fleet, store: Store, until: Any, asked: dict[str, Any], problem: str
) -> None:
    name = uuid.uuid4().hex
    if isinstance(asked.get("graph"), dict):
        asked = {**asked, "graph": {**asked["graph"], "name": name}}
    before = store.command(keys.runs(), "ZCARD", keys.runs())
    with pytest.raises(UsageError) as caught:
        ordering.place(store, uuid.uuid4().hex, asked)
    assert problem in str(caught.value)
    assert store.command(keys.runs(), "ZCARD", keys.runs()) == before
    told = name if isinstance(asked.get("graph"), dict) else ""
    until(lambda: told in _refused(store))


def test_a_question_about_no_run_says_so(store: Store) -> None:
    with pytest.raises(NotFoundError, match="there is no run 'nix'"):
        ordering.answer(store, {"run": "nix", "wait": 5})
    with pytest.raises(UsageError, match="a number of seconds from 0 to 60"):
        ordering.answer(store, {"run": "nix", "wait": 61})


def test_a_message_that_no_celery_wrote_is_an_order_and_its_result_a_key(
    shared: Fleet, store: Store, until: Any
) -> None:
    order = uuid.uuid4().hex
    message = {
        "body": json.dumps([[], {"graph": _graph()}, {}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "go", "task": "omx.run", "id": order},
        "properties": {"delivery_tag": order, "delivery_info": {"routing_key": "celery"}},
    }
    store.run(queues.publish("celery", [Posting(order, json.dumps(message), Priority.P2)]))
    key = f"celery-task-meta-{order}"
    until(lambda: store.command(key, "GET", key))
    answer = json.loads(store.command(key, "GET", key))
    assert answer["status"] == "SUCCESS", answer
    assert Run(answer["result"], store).wait(60).succeeded
