"""Measures what stock Celery makes of three layers of n operations, each of which needs all before it.

``python tests/agents/stock_canvas.py [n]`` starts a Redis server and a worker with 32 threads, runs
``chain(group, group, group)`` and counts how often its task is executed: 2n + n*n times instead of 3n. Here for
comparison with `test_three_layers_of_a_hundred_run_three_hundred_calls`; it is no test.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery, chain, group
from redis import Redis

URL = os.environ.get("STOCK_REDIS", "redis://127.0.0.1:6379/0")
COUNTER, QUIET = "executions", 2.0

app = Celery("stock_canvas", broker=URL, backend=URL)
client = Redis.from_url(URL)


@app.task(name="part")
def part(*_: object) -> int:
    return int(client.incr(COUNTER))


def measure(layer: int) -> None:
    """Run the three layers; say when the last layer answered, and what had been executed when all was quiet."""
    groups = [group(part.si() for _ in range(layer)) for _ in range(3)]
    began = time.perf_counter()
    result = chain(*groups).apply_async()
    submitted = time.perf_counter() - began
    result.get(timeout=300, interval=0.005)
    answered = time.perf_counter() - began
    executions, ended = _quiet()
    while (
        result is not None
    ):  # results that nobody asked for would unsubscribe when the process ends: too late
        result, done = result.parent, result
        done.forget()
    print(
        f"{layer} operations in each of 3 layers on stock Celery: {executions} executions, "
        f"submitted in {submitted:.2f} s, answered after {answered:.2f} s, quiet after {ended - began:.2f} s"
    )


def _quiet() -> tuple[int, float]:
    """Wait until nothing has been executed for a while; return the executions and the time of the last."""
    seen, since = -1, time.perf_counter()
    while time.perf_counter() - since < QUIET:
        now = int(client.get(COUNTER) or 0)
        if now != seen:
            seen, since = now, time.perf_counter()
        time.sleep(0.01)
    return seen, since


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(layer: int) -> None:
    """Start what is needed, measure in a process of its own, end it all."""
    port = _free_port()
    server = shutil.which("redis-server") or sys.exit("there is no redis-server on the PATH")
    folder = Path(tempfile.mkdtemp())
    environ = {**os.environ, "STOCK_REDIS": f"redis://127.0.0.1:{port}/0"}
    here = Path(__file__).parent
    celery = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "stock_canvas",
        "worker",
        "-P",
        "threads",
        "-c",
        "32",
    ]
    processes = [
        subprocess.Popen(
            [server, "--port", str(port), "--save", ""], cwd=folder, stdout=subprocess.DEVNULL
        ),
        subprocess.Popen(
            [*celery, "-l", "ERROR"],
            cwd=here,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ),
    ]
    try:
        command = [sys.executable, __file__, "--measure", str(layer)]
        subprocess.run(command, cwd=here, env=environ, check=True)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)
        shutil.rmtree(folder)


if __name__ == "__main__":
    if "--measure" in sys.argv:
        app.control.ping(timeout=5, limit=1)
        measure(int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
