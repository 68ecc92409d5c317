"""A producer outside of the containers: ``outside.py FILE``. Runs graphs, several at a time, until SIGTERM.

Then it waits for those under way and writes to the file what became of each operation: its key, its tool, its state.
"""

import json
import signal
import sys
import threading
import uuid
from pathlib import Path

from omx_tasks import Graph, Operation
from omx_tasks.runs.view import OperationView

AT_ONCE, SECONDS = 6, 0.4
TOOLS = ["read", "write", "read"] * 6
WAIT = 180.0

stopping = threading.Event()
book: list[tuple[str, str, str]] = []


def graph() -> Graph:
    mark = uuid.uuid4().hex[:8]
    return Graph(
        name="load",
        operations=[
            Operation(
                id=f"o{number}",
                server="ledger",
                tool=tool,
                arguments={"key": f"{mark}-{number}", "seconds": SECONDS},
            )
            for number, tool in enumerate(TOOLS)
        ],
    )


def produce() -> None:
    while not stopping.is_set():
        made = graph()
        view = made.submit().wait(timeout=WAIT)
        for operation in made.operations:
            found = view.operations[operation.id]
            assert isinstance(found, OperationView)
            book.append((operation.arguments["key"], str(operation.tool), found.state))


signal.signal(signal.SIGTERM, lambda *_: stopping.set())
threads = [threading.Thread(target=produce) for _ in range(AT_ONCE)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
Path(sys.argv[1]).write_text(json.dumps(book))
