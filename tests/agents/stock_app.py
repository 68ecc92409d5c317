"""Stock Celery on one Redis server, running a graph as one nested canvas: ``python stock_app.py GRAPH.json``.

Each operation answers with its key and the values of those that it needs, as the ledger's ``read`` does. Prints the
values by id and how often each was executed.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter

from celery import Celery
from redis import Redis

from omx_tasks.graph.canvas import series_parallel
from omx_tasks.graph.marker import OPERATION
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan

URL = os.environ["STOCK_REDIS"]
NEEDS, VALUES, EXECUTIONS = "test:needs", "test:values", "test:executions"

app = Celery("stock_app", broker=URL, backend=URL)
client = Redis.from_url(URL)


@app.task(name=OPERATION)
def operation(_run: str, name: str) -> None:
    """Fails where one that it needs has no value yet."""
    needs = json.loads(client.hget(NEEDS, name) or "")
    value = {"key": name, "value": [json.loads(client.hget(VALUES, need) or "") for need in needs]}
    client.rpush(EXECUTIONS, name)
    client.hset(VALUES, name, json.dumps(value))


def main(path: str) -> None:
    plan = compile_plan(Graph.load(path))
    for name, step in plan.steps.items():
        client.hset(NEEDS, name, json.dumps(step.needs))
    canvas = series_parallel(plan)
    assert canvas is not None
    result = canvas.apply_async()
    result.get(timeout=30, interval=0.005)
    values = {name.decode(): json.loads(text) for name, text in client.hgetall(VALUES).items()}
    executions = Counter(name.decode() for name in client.lrange(EXECUTIONS, 0, -1))
    print(json.dumps({"values": values, "executions": executions}))
    while result is not None:  # as in stock_canvas.py
        result, done = result.parent, result
        done.forget()


if __name__ == "__main__":
    main(sys.argv[1])
