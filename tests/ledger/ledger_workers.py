"""Workers of the ledger's app, as processes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ledger_app import CONFIGURATION, LEDGER

from omx_tasks.bench.worker import Worker

HERE = Path(__file__).parent
OPTIONS = {
    "prefork": ("-P", "prefork", "-c", "2"),
    "threads": ("-P", "threads", "-c", "4"),
    "solo": ("-P", "solo"),
    "two": ("-P", "prefork", "-c", "2", "--prefetch-multiplier", "1"),
    "one": ("-P", "threads", "-c", "1", "--prefetch-multiplier", "1"),
}


def ledger_worker(
    folder: Path, name: str, kind: str, settings: dict[str, Any], ledger: Path, queues: str
) -> Worker:
    """Return a worker, not started yet, of one of the kinds of `OPTIONS`."""
    return Worker(
        name=name,
        app="ledger_app",
        options=(*OPTIONS[kind], "-Q", queues),
        environ={
            CONFIGURATION: json.dumps(settings),
            LEDGER: str(ledger),
            "TMPDIR": str(folder),
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        },
        log=folder / f"{name}.log",
    )
