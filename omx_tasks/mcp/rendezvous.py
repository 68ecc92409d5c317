"""Where a user's agents on this machine meet the process that holds their shared servers, and what they compare."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from omx_tasks import locks
from omx_tasks.errors import ConfigurationError
from omx_tasks.mcp.config import ServerConfig

#: What of the environment a server gets besides its own ``env``: the few variables that the SDK takes for safe.
SAFE = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
#: Bytes of a socket's path at most (man 7 unix), and of its name in the folder, the slash before it included.
LONGEST, NAME = 107, 22


def folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the sockets, made if need be; raises `ConfigurationError` where others may look into it."""
    place = next(one for one in _places(environ) if len(os.fsencode(one)) + NAME <= LONGEST)
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = place.lstat()
    except OSError as error:
        raise ConfigurationError(f"{place}: {error.strerror}; set XDG_RUNTIME_DIR") from error
    if place.is_symlink() or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise ConfigurationError(
            f"{place} is not this user's alone, so no servers are shared there: remove it, or set XDG_RUNTIME_DIR"
        )
    return place


def _places(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield where the folder may be, the best one first; the last has a short path for sure."""
    base, mine = environ.get("XDG_RUNTIME_DIR"), f"omx-{os.getuid()}"
    if base:
        yield Path(base) / "omx"
    yield Path(tempfile.gettempdir()) / mine
    yield Path("/tmp") / mine  # noqa: S108 - whether it is this user's alone is looked at


def socket_of(path: Path, environ: Mapping[str, str]) -> Path:
    """Return the socket of the process for a server file; raises `ConfigurationError`."""
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return folder(environ) / f"{name}.sock"


@contextmanager
def locked(place: Path) -> Iterator[bool]:
    """Hold the lock of a socket, without waiting for it, and leave no file of it; yields whether it is held."""
    path = place.with_suffix(".lock")
    held = locks.take(path)
    try:
        yield held is not None
    finally:
        if held is not None:
            locks.remove(path, held)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what every server gets of the environment."""
    found = {name: environ[name] for name in SAFE if name in environ}
    return {name: value for name, value in found.items() if not value.startswith("()")}


def digest_of(config: ServerConfig, environ: Mapping[str, str]) -> str:
    """Return what tells whether two would launch the same: program, arguments, folder, and all of its environment."""
    env = {**environment(environ), **config.env}
    launched = [config.name, config.command, config.args, sorted(env.items()), config.cwd]
    return hashlib.sha256(json.dumps([*launched, config.hints.shared]).encode()).hexdigest()
