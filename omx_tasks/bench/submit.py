"""How long it takes to submit a large graph, and how much memory the producer needs for it.

::

    graph file ─ load ─► checked model ─ submit ─► checked against the catalogue, stored, first messages published

A cluster of its own, and an entry in the list of agents with the real catalogue of the example server: everything
that a producer does is done, but nobody takes the work away meanwhile. Each sample is a fresh process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omx_tasks.bench.sides import our_side
from omx_tasks.broker import queues
from omx_tasks.broker.routing import queue_of
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.mcp.catalogue import probe
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.results import joins
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script

Say = Callable[[str], None]
Data = dict[str, Any]

SERVER, AGENT = "notes", "bench"
DEADLINE = 60.0
QUEUE = queue_of([f"server:{SERVER}"])


@dataclass(frozen=True)
class Sample:
    """One submission. Seconds; ``memory`` is in MiB, ``document`` and ``message`` (the largest one) in bytes."""

    start: float
    load: float
    submit: float
    memory: float
    document: int
    message: int


def wide(count: int) -> list[Data]:
    """Return operations that wait for nothing, and one that waits for them all."""
    free = [_operation(number) for number in range(count - 1)]
    return [*free, _operation(count - 1, needs=[one["id"] for one in free])]


def deep(count: int) -> list[Data]:
    """Return a chain in which each uses what the one before it gave."""
    return [_operation(number, uses=number - 1 if number else None) for number in range(count)]


def mixed(count: int) -> list[Data]:
    """Return operations that wait for up to three among the two hundred before them, and use one of those."""
    chance = random.Random(count)  # noqa: S311 - any graph will do, as long as it is the same one
    operations = [_operation(0)]
    for number in range(1, count):
        first = max(0, number - 200)
        uses, *needs = {chance.randrange(first, number) for _ in range(3)}
        operations.append(_operation(number, uses, [f"o{need}" for need in needs]))
    return operations


SHAPES = {"wide": wide, "deep": deep, "random": mixed}


def measure(sizes: Sequence[int], repeats: int, say: Say) -> dict[str, Sample]:
    """Return the medians by shape and number of operations (``wide 10000``)."""
    with (
        TemporaryDirectory(prefix="omx-bench-") as name,
        our_side(Path(name) / "cluster") as side,
    ):
        bench = _Bench(Path(name), str(side.settings["broker_url"]))
        found: dict[str, Sample] = {}
        for size in sizes:
            for shape, make in SHAPES.items():
                say(f"{shape}, {size:,} operations")
                path = bench.write(shape, make(size))
                found[f"{shape} {size}"] = _median([bench.sample(path) for _ in range(repeats)])
        return found


class _Bench:
    """Submits to one cluster, and clears away after each submission."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self._store = Store(url)
        arguments = ("-m", "omx_tasks.examples.notes", "--out", str(folder))
        notes = ServerConfig(SERVER, folder, "stdio", command=sys.executable, args=arguments)
        self._catalogue = json.dumps(asyncio.run(probe(notes, DEADLINE)))

    def write(self, name: str, operations: list[Data]) -> Path:
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps({"name": name, "operations": operations}))
        return path

    def sample(self, path: Path) -> Sample:
        self._announce()
        command = [sys.executable, "-m", "omx_tasks.bench.producer", str(path)]
        environ = {**os.environ, "OMX_BROKER_URL": self._url}
        done = subprocess.run(
            command, env=environ, stdout=subprocess.PIPE, timeout=DEADLINE, check=True
        )
        answer = json.loads(done.stdout)
        run_id = answer.pop("run")
        document = self._store.run(joins.read_plan(run_id))
        StoredPlan.parse(document)
        message = self._largest_message()
        self._store.run(joins.cancel(run_id))
        self._store.run(queues.delete(QUEUE))
        return Sample(**answer, document=len(document), message=message)

    def _announce(self) -> None:
        record = {
            "host": "", "pid": 0, "slots": 1, "busy": 0, "done": 0, "servers": [SERVER], "failed": {}, "config": "",
        }  # fmt: skip
        names = (keys.agents(), keys.catalogue(), keys.capability_sets())
        arguments = (AGENT, json.dumps(record), SERVER, self._catalogue)
        self._store.run(Call(script("heartbeat_1"), names, arguments))

    def _largest_message(self) -> int:
        key = keys.messages(QUEUE)
        ids = self._store.command(key, "HKEYS", key)
        return max(map(int, self._store.commands([(key, ("HSTRLEN", key, id_)) for id_ in ids])))


def _operation(number: int, uses: int | None = None, needs: Sequence[str] = ()) -> Data:
    name = "water.md" if uses is None else f"${{o{uses}.text}}"
    data: Data = {
        "id": f"o{number}",
        "server": SERVER,
        "tool": "read_note",
        "arguments": {"name": name},
    }
    return {**data, "needs": list(needs)} if needs else data


def _median(samples: Sequence[Sample]) -> Sample:
    columns = {name: [asdict(one)[name] for one in samples] for name in asdict(samples[0])}
    return Sample(**{name: statistics.median(values) for name, values in columns.items()})
