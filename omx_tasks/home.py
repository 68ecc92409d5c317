"""Where a system on this machine keeps its state, and what is up there now.

``$XDG_DATA_HOME/omx`` (default ``~/.local/share/omx``) holds the cluster's data, the logs, and while the system is up
``system.json``: who supervises it, its broker, its server file. Two homes are two systems.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class System:
    """A system that is up. ``started`` is the supervisor's start (Unix seconds), so that a reused pid is no match."""

    pid: int
    started: float
    broker_url: str
    mcp_config: str
    digest: str
    agents: int
    slots: int
    ready: bool

    def alive(self) -> bool:
        """Whether its supervisor still runs."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1.0
        except psutil.NoSuchProcess:
            return False


class Home:
    """The folder of one system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = folder / "cluster"
        self.logs = folder / "logs"
        self._record = folder / "system.json"

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
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None
        return system if system.alive() else None

    def write(self, system: System) -> None:
        """Say that a system is up, in one step for whoever reads."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self._record.with_suffix(f".{os.getpid()}.new")
        fresh.write_text(json.dumps(asdict(system), indent=1), "utf-8")
        fresh.replace(self._record)

    def clear(self) -> None:
        """Say that none is up any more."""
        self._record.unlink(missing_ok=True)
