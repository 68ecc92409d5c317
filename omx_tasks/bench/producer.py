"""The program that `submit` measures: ``python -m omx_tasks.bench.producer GRAPH`` reads a graph and submits it.

A fresh process each time, so that its memory is that of a producer and of nothing else. Prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

STATUS = Path("/proc/self/status")


def main(path: str) -> None:
    """Submit the graph to the cluster of ``OMX_BROKER_URL``; seconds by step, and the most memory ever used."""
    began = time.perf_counter()
    from omx_tasks.api import Graph, default_store

    store = default_store()
    store.ping(10.0)
    ready = time.perf_counter()
    graph = Graph.load(path)
    loaded = time.perf_counter()
    run = graph.submit(store=store)
    submitted = time.perf_counter()
    answer = {
        "run": run.id,
        "start": ready - began,
        "load": loaded - ready,
        "submit": submitted - loaded,
        "memory": most_memory() / 2**20,
    }
    print(json.dumps(answer))


def most_memory() -> int:
    """Return the most bytes that this process ever had in memory.

    On Linux `getrusage` would also count what the parent had at the moment of the fork.
    """
    if STATUS.exists():
        lines = STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(sys.argv[1])
