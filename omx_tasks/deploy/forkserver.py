"""Asks the fork server for agents: a process of its own, which imports once what they share (`workers.forkserver`).

::

    start ──► imports ──► serves ──launch──► an agent, until it ends
                 │           └── died ──► all its agents died with it ──launch──► another fork server, and the agent
                 └── a launch meanwhile waits

It is bound to this process, and its agents to it: all end when this process does. The environment of the first agent is
that of all of them: what follows from it is in memory once, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from omx_tasks.cluster.launch import Launched, bound_command
from omx_tasks.deploy.forking import Job
from omx_tasks.errors import ClusterError

#: Seconds in which one must have imported what it shares, and in which it must fork.
PRELOAD = 60.0
#: Seconds in which it must end when nobody asks any more.
END = 5.0


class ForkServer:
    """Starts agents; ``log`` is where the server's own words go. Thread-safe."""

    def __init__(self, log: Path, environ: Mapping[str, str]) -> None:
        self._log = log
        self._environ = dict(environ)
        self._lock = threading.Lock()
        self._server: _Server | None = None

    def __repr__(self) -> str:
        return f"<ForkServer {self._server!r}>"

    @property
    def pid(self) -> int | None:
        """The process id of the server that runs."""
        return self._server.pid if self._server else None

    def start(self) -> None:
        """Start it, if none runs; it imports while the caller goes on."""
        with self._lock:
            self._running()

    def launch(self, arguments: Sequence[str], log: Path, environ: Mapping[str, str]) -> Launched:
        """Fork an agent with these arguments; raises `ClusterError` where that cannot be."""
        with self._lock:
            return self._running().fork(Job(log.stem, list(arguments), str(log)), environ)

    def stop(self) -> None:
        """End it, and what is left of its agents."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.stop()

    def _running(self) -> _Server:
        if self._server is None or self._server.over.is_set():
            self._server = _Server(self._log, self._environ)
        return self._server


class _Server:
    """One process of it, and the thread that started it, reads what it says, and waits for its end.

    One thread for all of it, because the kernel counts the end of the *thread* that started it as the parent's.
    """

    def __init__(self, log: Path, environ: Mapping[str, str]) -> None:
        self.over = threading.Event()
        self.pid: int | None = None
        self._log, self._environ = log, environ
        self._asks: IO[bytes] | None = None
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._launched: dict[int, Launched] = {}
        self._ready = False
        threading.Thread(target=self._keep, name="omx-forkserver", daemon=True).start()

    def __repr__(self) -> str:
        return f"<_Server pid={self.pid} agents={sorted(self._launched)}>"

    def fork(self, job: Job, environ: Mapping[str, str]) -> Launched:
        """Fork one agent."""
        if not self._ready:
            self._answer("ready")
            self._ask({"prepare": dict(environ)})
            self._ready = True
        self._ask({"fork": asdict(job)})
        launched: Launched = self._answer("forked")["launched"]
        return launched

    def stop(self) -> None:
        """Let it end by itself: its input is closed."""
        self._hang_up()
        if not self.over.wait(END) and self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
            self.over.wait(END)

    def _ask(self, said: dict[str, Any]) -> None:
        assert self._asks is not None
        try:
            self._asks.write(json.dumps(said).encode() + b"\n")
            self._asks.flush()
        except (OSError, ValueError) as error:  # it hung up, or we did
            raise self._failed(str(error)) from error

    def _hang_up(self) -> None:
        if self._asks is not None:
            with contextlib.suppress(OSError):
                self._asks.close()

    def _answer(self, kind: str) -> dict[str, Any]:
        try:
            said = self._said.get(timeout=PRELOAD)
        except queue.Empty:
            raise self._failed(f"it did not answer in {PRELOAD:.0f} s") from None
        if kind not in said:
            raise self._failed(str(said.get("error", "it ended")))
        return said

    def _failed(self, reason: str) -> ClusterError:
        return ClusterError(f"the fork server cannot start an agent: {reason}; see {self._log}")

    # --- its thread ---------------------------------------------------------------------------------

    def _keep(self) -> None:
        try:
            with self._log.open("ab") as stream:
                process = subprocess.Popen(
                    bound_command([sys.executable, "-m", "workers.forkserver"]),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    env=self._environ,
                    process_group=0,
                )
        except OSError as error:
            self.over.set()
            self._said.put({"error": str(error)})
            return
        self.pid, self._asks = process.pid, process.stdin
        assert process.stdout is not None
        for line in process.stdout:
            self._take(json.loads(line))
        process.stdout.close()
        self._hang_up()
        status = process.wait()
        self.over.set()
        # Its agents were bound to it.
        for launched in self._launched.values():
            launched.ended.set()
        self._said.put({"error": f"it ended with status {status}"})

    def _take(self, said: dict[str, Any]) -> None:
        if "ended" in said:
            launched = self._launched.pop(said["ended"])
            launched.ended_as(said["status"])
            return
        if "forked" in said:
            launched = Launched(said["pid"], threading.Event())
            self._launched[launched.pid] = launched
            said["launched"] = launched
        self._said.put(said)
