"""The processes that work on a cluster: struck like its nodes, started again like a supervisor would."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil
from shard import wait_until

from omx_tasks.cluster.launch import Launched, launch

#: Seconds that a process has for its start, also where many others want the processors, and for its end.
START, GRACE = 180.0, 20.0


class Usage(NamedTuple):
    """What a process and its children hold; ``memory`` is MiB, with what they share counted for each."""

    descriptors: int
    threads: int
    memory: float


@dataclass
class Member:
    """One process. ``command`` is asked anew at each start; it is ready when its log has the word ``ready``."""

    kind: str
    name: str
    command: Callable[[], Sequence[str]]
    environ: Mapping[str, str]
    log: Path
    ready: bytes
    starts: int = 0
    #: Whether a supervisor starts it again.
    restarts: bool = True
    _launched: Launched | None = None
    _log_began: int = 0
    usages: list[Usage] = field(default_factory=list)

    def start(self) -> None:
        """Start it, and return when it is ready."""
        self.starts += 1
        self.log.touch()
        self._log_began = self.log.stat().st_size
        environ = {**os.environ, **self.environ}
        self._launched = launch(list(self.command()), self.log, bound=True, environ=environ)
        wait_until(self._is_ready, START)

    def _is_ready(self) -> bool:
        assert self.alive, f"{self.name} did not come up, see {self.log}"
        return self.ready in self.log.read_bytes()[self._log_began :]

    @property
    def alive(self) -> bool:
        return self._launched is not None and not self._launched.ended.is_set()

    @property
    def pid(self) -> int:
        assert self._launched is not None
        return self._launched.pid

    def send(self, number: int) -> None:
        """Send a signal to the process alone."""
        assert self._launched is not None
        os.kill(self._launched.pid, number)

    def send_all(self, number: int) -> None:
        """Send a signal to the process and its children."""
        assert self._launched is not None
        os.killpg(self._launched.pid, number)

    def kill(self) -> None:
        """Kill it with its children, as when a machine dies."""
        self.send_all(signal.SIGKILL)
        assert self._launched is not None
        self._launched.ended.wait(GRACE)

    def measure(self) -> None:
        """Take down what it holds now."""
        assert self._launched is not None
        parent = psutil.Process(self._launched.pid)
        family = [parent, *parent.children(recursive=True)]
        self.usages.append(
            Usage(
                sum(one.num_fds() for one in family),
                sum(one.num_threads() for one in family),
                sum(one.memory_info().rss for one in family) / 2**20,
            )
        )

    def stop(self) -> None:
        """End it; what does not end is killed."""
        if self._launched is None or not self.alive:
            return
        with contextlib.suppress(ProcessLookupError):
            self.send_all(signal.SIGCONT)
            self.send(signal.SIGTERM)
        if not self._launched.ended.wait(GRACE):
            self.kill()
