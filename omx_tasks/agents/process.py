"""The host of a process that runs operations through Celery's own pools: prefork, threads, solo.

The project's own pool has its host itself (`pool`). Here each process that runs tasks gets one: a prefork child after
its fork, with sessions of its own; with threads and solo the worker's process.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

from omx_tasks.agents.host import Host

#: Makes a host from an agent's name and its slots.
MakeHost = Callable[[str, int], Host]


class ProcessHost:
    """At most one host, made when it is first needed. Thread-safe; a fork begins anew."""

    def __init__(self, make: MakeHost) -> None:
        self._make = make
        self._host: Host | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<ProcessHost {self._host!r}>"

    def get(self, name: str = "", slots: int = 1) -> Host:
        """Return the host, started; ``name`` and ``slots`` are for the first call in a process."""
        self._notice_fork()
        with self._lock:
            if self._host is None:
                name = name or f"{os.getpid()}@{socket.gethostname()}"
                host = self._make(name, slots)
                host.start()
                self._host = host
            return self._host

    def stop(self, drain: float = 1.0) -> None:
        """Close the sessions, if there are any."""
        self._notice_fork()
        with self._lock:
            host, self._host = self._host, None
        if host is not None:
            host.stop(drain)

    def _notice_fork(self) -> None:
        """In a forked process the parent's loop, sessions and lock are not ours."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._lock = threading.Lock()
            self._host = None
