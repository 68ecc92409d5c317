"""Real servers to measure with: two of Python, three of npm.

Those of npm are installed once, into a folder of this user's cache, and started as ``node SCRIPT``. What cannot be had
on this machine is left out, and why is said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omx_tasks.graph.model import Graph, Operation

#: Seconds that the installation of one package, and the making of a repository, may take.
INSTALL, MAKE = 120.0, 20.0
#: Where npm keeps packages: their names there are those of the servers.
SCOPE = "@modelcontextprotocol"


@dataclass(frozen=True)
class Subject:
    """A server: how it is started, and a call of it that changes nothing."""

    name: str
    command: Mapping[str, Any]
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def call(self) -> Graph:
        """Return a graph with that call alone."""
        call = Operation(id="o", server=self.name, tool=self.tool, arguments=dict(self.arguments))
        return Graph(name="bench", operations=(call,))


class MissingError(Exception):
    """Why a server cannot be had here."""


def subjects(
    names: Sequence[str], folder: Path, say: Callable[[str], None]
) -> tuple[list[Subject], list[str]]:
    """Return the servers that can be had, and why each of the others cannot."""
    found, missing = [], []
    for name in names:
        try:
            found.append(_MAKE[name](folder, say))
        except MissingError as why:
            missing.append(f"without {name}: {why}")
            say(missing[-1])
    return found, missing


def _time(_folder: Path, _say: Callable[[str], None]) -> Subject:
    return Subject("time", _module("mcp_server_time"), "get_current_time", {"timezone": "UTC"})


def _git(folder: Path, _say: Callable[[str], None]) -> Subject:
    command, git = _module("mcp_server_git"), shutil.which("git")
    if git is None:
        raise MissingError("git is not installed")
    path = str(folder / "repository")
    subprocess.run([git, "init", "-q", path], check=True, timeout=MAKE)
    return Subject("git", command, "git_status", {"repo_path": path})


def _everything(_folder: Path, say: Callable[[str], None]) -> Subject:
    return Subject("everything", _npm("everything", say), "echo", {"message": "hello"})


def _filesystem(folder: Path, say: Callable[[str], None]) -> Subject:
    allowed = folder / "files"
    allowed.mkdir(exist_ok=True)
    command = _npm("filesystem", say, str(allowed))
    return Subject("filesystem", command, "list_directory", {"path": str(allowed)})


def _memory(folder: Path, say: Callable[[str], None]) -> Subject:
    command = _npm("memory", say)
    kept = {"env": {"MEMORY_FILE_PATH": str(folder / "memory.jsonl")}}
    return Subject("memory", {**command, **kept}, "read_graph")


#: Makes each of them.
_MAKE: dict[str, Callable[[Path, Callable[[str], None]], Subject]] = {
    "time": _time,
    "git": _git,
    "everything": _everything,
    "filesystem": _filesystem,
    "memory": _memory,
}
NAMES = tuple(_MAKE)


def _module(name: str) -> dict[str, Any]:
    if find_spec(name) is None:
        raise MissingError(f"pip install {name.replace('_', '-')}")
    return {"command": sys.executable, "args": ["-m", name]}


def _npm(name: str, say: Callable[[str], None], *words: str) -> dict[str, Any]:
    """Return what starts a server of npm; it is installed where it is not."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise MissingError("node and npm are not installed")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "omx" / "npm"
    script = folder / "node_modules" / ".bin" / f"mcp-server-{name}"
    if not script.exists():
        package = f"{SCOPE}/server-{name}"
        say(f"installing {package} into {folder}")
        _install(npm, folder, package)
    return {"command": node, "args": [str(script.resolve()), *words]}


def _install(npm: str, folder: Path, package: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL, check=False)
    except subprocess.TimeoutExpired:
        raise MissingError(f"npm did not install {package} in {INSTALL:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise MissingError(f"npm could not install {package}: {said[-1]}")
