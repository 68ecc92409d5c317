"""A graph whose order one nested canvas can express comes to the same on stock Celery with one Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from fleet import Fleet, one

from omx_tasks.bench.sides import stock_side
from omx_tasks.bench.worker import Worker
from omx_tasks.graph.model import Graph
from omx_tasks.graph.plan import compile_plan

HERE = Path(__file__).parent
NEEDS = {
    "a": [], "b": ["a"], "c": ["a"], "d": ["c"], "e": ["b", "d"], "f": ["e"], "g": ["e"], "h": ["f", "g"],
}  # fmt: skip


def test_stock_celery_gives_the_same_values_with_as_many_executions(
    shared: Fleet, tmp_path: Path
) -> None:
    operations = [
        shared.call(name, arguments={"value": [f"${{{need}.structured}}" for need in needs]})
        for name, needs in NEEDS.items()
    ]
    graph = Graph(name="both ways", operations=operations)
    view = shared.run(*operations)
    ours = {name: one(view, name).structured for name in compile_plan(graph).steps}
    stock = _on_stock_celery(graph, tmp_path)
    assert stock["values"] == ours
    assert stock["executions"] == Counter(NEEDS.keys())


def _on_stock_celery(graph: Graph, folder: Path) -> dict[str, dict[str, object]]:
    path = folder / "graph.json"
    path.write_text(json.dumps(graph.to_data()))
    with stock_side(folder / "redis") as side:
        environ = {
            "STOCK_REDIS": str(side.settings["broker_url"]),
            "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        }
        options = ("-P", "threads", "-c", "4", "-l", "INFO")
        worker = Worker("stock", "stock_app", options, environ, folder / "log").start()
        try:
            worker.wait_until_ready()
            done = subprocess.run(
                [sys.executable, str(HERE / "stock_app.py"), str(path)],
                env={**os.environ, **environ},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            worker.stop()
    assert done.returncode == 0, done.stderr + worker.output().decode()
    assert not done.stderr
    answer: dict[str, dict[str, object]] = json.loads(done.stdout)
    return answer
