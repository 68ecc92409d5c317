"""A Celery worker as a process of its own: started, drained, killed, looked at. It dies with whoever started it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from omx_tasks.cluster.launch import Launched, launch
from omx_tasks.errors import UnavailableError

PAUSE = 0.005
#: Seconds for a worker to come up, and to end after SIGTERM.
START, GRACE = 30.0, 15.0
READY = b"ready."
PLAIN = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING")


@dataclass
class Worker:
    """``app`` is Celery's ``-A``; ``options`` are those of ``celery worker``, such as ``-P threads -c 8``."""

    name: str
    app: str
    options: Sequence[str]
    environ: Mapping[str, str]
    log: Path
    _launched: Launched | None = None
    _log_began: int = 0

    @property
    def node(self) -> str:
        """The worker's name in Celery's remote control."""
        return f"{self.name}-{os.getpid()}@localhost"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._launched is not None and not self._launched.ended.is_set()

    @property
    def pid(self) -> int:
        """The id of the parent process, last seen if it does not run."""
        return self._launched.pid if self._launched else 0

    def start(self) -> Worker:
        """Start the process; it consumes a moment later."""
        command = [sys.executable, "-m", "celery", "-A", self.app, "worker", "-n", self.node]
        self.log.touch()
        self._log_began = self.log.stat().st_size
        environ = {**os.environ, **self.environ}
        self._launched = launch(
            [*command, *PLAIN, *self.options], self.log, bound=True, environ=environ
        )
        return self

    def output(self) -> bytes:
        """Return what the process wrote since its last start."""
        return self.log.read_bytes()[self._log_began :]

    def is_ready(self) -> bool:
        """Whether the process runs and consumes."""
        return self.alive and READY in self.output()

    def wait_until_ready(self, seconds: float = START) -> Worker:
        """Return when the worker consumes; raises `UnavailableError` with the end of its log when it does not."""
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if not self.alive or time.monotonic() > deadline:
                tail = self.output().decode(errors="replace")[-2000:]
                raise UnavailableError(f"the worker {self.name} did not come up; its log:\n{tail}")
            time.sleep(PAUSE)
        return self

    def family(self) -> list[psutil.Process]:
        """Return the worker's processes: the parent, then its children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        """Return the processor time that the parent has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def terminate(self) -> None:
        """Ask for a warm shutdown."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill parent and children at once, as when a machine dies."""
        if self._launched is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.wait_until_ended(GRACE)

    def wait_until_ended(self, seconds: float = GRACE) -> bool:
        """Wait for the end of the parent; False when it did not end in time."""
        return self._launched is None or self._launched.ended.wait(seconds)

    def stop(self) -> None:
        """Shut down warmly; what does not end is killed."""
        self.terminate()
        if not self.wait_until_ended():
            self.kill()
