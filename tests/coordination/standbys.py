"""Coordinators as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from omx_tasks.coordination.registry import CoordinatorRecord, coordinators
from omx_tasks.store.client import Store

END = 60.0


@dataclass
class Standbys:
    """Starts coordinators and asks the store who leads."""

    url: str
    store: Store
    folder: Path
    until: Callable[..., None]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, **environ: str) -> int:
        """Start one and wait until it takes part; return its process id."""
        log = self.folder / f"coordinator{len(self.processes)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers.coordinator"],
                env={**os.environ, "OMX_BROKER_URL": self.url, **environ},
                stdout=out,
                stderr=out,
            )
        self.processes.append(process)
        self.until(lambda: process.pid in {one.pid for one in self.up()} or process.poll(), END)
        assert process.poll() is None, log.read_text()
        return process.pid

    def up(self) -> list[CoordinatorRecord]:
        return coordinators(self.store)

    def leader(self, *, but: int = 0) -> CoordinatorRecord:
        """Wait until one of ours leads that is another process than ``but``."""
        found: list[CoordinatorRecord] = []
        ours = {process.pid for process in self.processes} - {but}

        def is_there() -> bool:
            found[:] = [one for one in self.up() if one.leads and one.pid in ours]
            return bool(found)

        self.until(is_there, END)
        return found[0]

    def log(self, pid: int) -> str:
        number = [process.pid for process in self.processes].index(pid)
        return (self.folder / f"coordinator{number}.log").read_text()

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            try:
                process.wait(END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END)
