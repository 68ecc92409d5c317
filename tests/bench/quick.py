"""A bench in its smallest form, as a command of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

COMMAND = "from omx_tasks.cli.bench import bench; bench()"
SECONDS = 600


def answer_of(folder: Path, *words: str | Path) -> Any:
    """Return what a quick bench prints as its one line of JSON; ``folder`` is where its temporary files go."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words, "--quick", "--json"],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def processes_left(folder: Path) -> list[psutil.Process]:
    """Return the processes that have this folder in their command lines, and do not end by themselves in a moment."""
    found = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in process.info["cmdline"] or ())
    ]
    return psutil.wait_procs(found, timeout=10)[1]
