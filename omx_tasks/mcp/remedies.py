"""What to do about a server that does not start: as far as its command, and its last words, tell."""

from __future__ import annotations

import difflib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from omx_tasks.mcp.config import ServerConfig

#: What brings a launcher, or the interpreter that it is written for.
_BRINGS = {
    **dict.fromkeys(("node", "npx", "npm", "pnpm", "yarn"), "install Node.js (https://nodejs.org)"),
    **dict.fromkeys(("uv", "uvx"), "install uv (https://docs.astral.sh/uv)"),
    "bun": "install Bun (https://bun.sh)",
    "bunx": "install Bun (https://bun.sh)",
    "deno": "install Deno (https://deno.com)",
    "docker": "install Docker, and see that its daemon runs",
    "python": "name the interpreter: python3, or the path of a virtual environment's",
}
_OF_NODE = ("npx", "npm", "pnpm", "yarn")
#: How they end, and what servers and launchers write when something is missing; ``{}`` is what was found.
_WORDS = (
    (r"its cwd .* is no folder", "make that folder, or mend its cwd"),
    (r"was killed by SIGKILL", "see whether the machine ran out of memory"),
    (r"what is not an MCP message", "have its logs written to standard error"),
    (r"Name or service not known|nodename nor servname", "see whether the host's name is right"),
    (r"No module named '?([\w.]+)", "install {} for this interpreter, or name another one's path"),
    (r"Cannot find (?:module|package) '([^']+)'", "install {} where the server is"),
    (r"E404|404 Not Found - GET|No solution found", "see whether its package is spelled correctly"),
    (r"EAI_AGAIN|ENOTFOUND|dns error", "the registry of packages cannot be reached from here"),
    (r"can't open file '([^']+)'", "see whether {} is the right path, and write it absolutely"),
    (r"(?i)(?:missing|required|set)\b.*\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)", 'give it {} in its "env"'),
    (r"EACCES|Permission denied", "see whether this user may read and run what it needs"),
)


def of_command(config: ServerConfig, environ: Mapping[str, str]) -> str:
    """Return what to do when a command cannot be found or lacks its interpreter; else an empty text."""
    path = config.env.get("PATH", environ.get("PATH", os.defpath))
    name = Path(config.command).name
    if shutil.which(_placed(config), path=path) is None:
        return _missing(config.command, path)
    if name in _OF_NODE and shutil.which("node", path=path) is None:
        return f"{name} needs node, which is not on the PATH: {_BRINGS['node']}"
    return ""


def of_words(words: str) -> str:
    """Return what to do about how a server ended and what it wrote before; else an empty text."""
    for pattern, remedy in _WORDS:
        if found := re.search(pattern, words):
            return remedy.format(*found.groups())
    return ""


def _placed(config: ServerConfig) -> str:
    """Return the command, from the server's folder on where it is a relative path."""
    if "/" in config.command and config.cwd is not None:
        return str(Path(config.cwd) / config.command)
    return config.command


def _missing(command: str, path: str) -> str:
    if "/" in command:
        return f"see whether {command} is there, and may be run"
    if command in _BRINGS:
        return _BRINGS[command]
    close = difflib.get_close_matches(command, _programs(path), n=1, cutoff=0.75)
    if close:
        return f"did you mean {close[0]!r}? Else install {command!r}, or write its whole path"
    return f"install {command!r}, or write its whole path"


def _programs(path: str) -> set[str]:
    found: set[str] = set()
    for folder in path.split(os.pathsep):
        try:
            found.update(entry.name for entry in os.scandir(folder or "."))
        except OSError:
            continue
    return found
