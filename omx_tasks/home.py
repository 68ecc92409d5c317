"""Where a system on this machine keeps its state, and what is up there now.

``$XDG_DATA_HOME/omx`` (default ``~/.local/share/omx``) holds the cluster's data, the logs, and while the system is up
``system.json``: who supervises it, its broker, its server file. Two homes are two systems.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from omx_tasks.errors import ConfigurationError


@dataclass(frozen=True)
class System:
    """A system that is up. ``started`` is the supervisor's start (Unix seconds), so that a reused pid is no match.

    ``metrics`` is where they are, nothing where it has none.
    """

    pid: int
    started: float
    broker_url: str
    mcp_config: str
    digest: str
    agents: int
    slots: int
    ready: bool
    metrics: str = ""

    def alive(self) -> bool:
        """Whether its supervisor still runs."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return abs(process.create_time() - self.started) < 1.0
        except psutil.Error:
            return False


class Home:
    """The folder of one system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = folder / "cluster"
        self.logs = folder / "logs"
        self._record = folder / "system.json"
        self._lock = folder / "lock"
        self._held: int | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Home:
        """Return the home that the environment names."""
        base = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        return cls(Path(base) / "omx")

    def __repr__(self) -> str:
        return f"<Home {self.folder}>"

    def read(self) -> System | None:
        """Return the system that is up here, or None."""
        try:
            system = System(**json.loads(self._record.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return system if system.alive() else None

    def prepare(self) -> None:
        """Make the folders; raises `ConfigurationError` where they cannot be written to."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            with self._lock.open("ab"):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"cannot write to {self.folder}, where the system keeps its state: {error.strerror}; "
                "name another folder with XDG_DATA_HOME"
            ) from error

    def claim(self) -> None:
        """Become the one that supervises this home, until `release` or the end of the process."""
        self.prepare()
        held = os.open(self._lock, os.O_RDWR)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            raise ConfigurationError(
                f"a system is up already in {self.folder}: use it, or end it with `omx down`"
            ) from None
        self._held = held

    def release(self) -> None:
        """Give the claim back; nothing happens where there is none."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def write(self, system: System) -> None:
        """Say that a system is up, in one step for whoever reads."""
        fresh = self._record.with_suffix(f".{os.getpid()}.new")
        fresh.write_text(json.dumps(asdict(system), indent=1), "utf-8")
        fresh.replace(self._record)

    def clear(self) -> None:
        """Say that none is up any more."""
        with suppress(OSError):
            self._record.unlink()
