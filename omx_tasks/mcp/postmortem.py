"""Why a server did not start or went away, in words that say what to do."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from mcp import MCPError
from mcp_types import CONNECTION_CLOSED

from omx_tasks.errors import OperationError
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.process import ServerProcess
from omx_tasks.mcp.refusal import Refusal
from omx_tasks.mcp.shared import SharedServer


@dataclass(frozen=True)
class Remains:
    """What is known about a connection: its process or last HTTP refusal, and the last error."""

    config: ServerConfig
    process: ServerProcess | SharedServer | None
    refusal: Refusal | None
    error: BaseException | None
    closed_here: bool = False


def cannot_start(remains: Remains, silent_for: float | None) -> str:
    """Return the message of a server that could not be opened.

    ``silent_for`` is the deadline in seconds where that was the reason.
    """
    config = remains.config
    if silent_for is not None:
        reason = f"did not finish the MCP handshake within {silent_for:g} s"
    else:
        reason = _failure(remains)
    return _tell(remains, f"server {config.name!r} ({what(config)}) {reason}", starting=True)


def ended(remains: Remains) -> str:
    """Return the message of a call on a connection that has ended."""
    name = remains.config.name
    if remains.closed_here:
        return f"the session of server {name!r} was closed by this agent"
    return _tell(remains, f"server {name!r} went away: it {_failure(remains)}", starting=False)


def leaf(error: BaseException) -> BaseException:
    """Return the first real error inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error


def what(config: ServerConfig) -> str:
    """Return how a server is started or reached, without secrets."""
    if config.transport == "stdio":
        return f"command {config.redact(config.command)!r}"
    parts = urlsplit(config.url)
    host = parts.hostname or "?"
    port = f":{parts.port}" if parts.port else ""
    return f"url {parts.scheme}://{host}{port}{config.redact(parts.path)}"


def _failure(remains: Remains) -> str:
    status = None if remains.process is None else remains.process.status
    if status is not None:
        return _exit(status)
    error = None if remains.error is None else leaf(remains.error)
    if isinstance(error, OSError) and remains.process is not None:
        return _not_started(remains.config, error)
    if isinstance(error, OperationError):
        return f"cannot be reached: {error.message}"
    if remains.refusal is not None:
        return _refused(remains)
    if isinstance(error, httpx2.TransportError):
        return _unreachable(remains.config, error)
    if error is None or (isinstance(error, MCPError) and error.code == CONNECTION_CLOSED):
        return "closed the connection"
    text = remains.config.redact(str(error))
    if isinstance(error, MCPError):
        return f"answered with MCP error {error.code}: {text}"
    return f"failed with {type(error).__name__}: {text}"


def _refused(remains: Remains) -> str:
    assert remains.refusal is not None
    remedy = remains.config.redact(remains.refusal.remedy)
    return f"answered with {remains.refusal.text}{f'; {remedy}' if remedy else ''}"


def _unreachable(config: ServerConfig, error: httpx2.TransportError) -> str:
    text = config.redact(str(error)) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        remedy = 'name the file with its authority as "omx": {"ca": FILE}, or in SSL_CERT_FILE'
    elif isinstance(error, httpx2.ConnectError):
        remedy = "see whether it runs there"
    else:
        remedy = "see its own log"
    return f"cannot be reached: {text}; {remedy}"


def _exit(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _not_started(config: ServerConfig, error: OSError) -> str:
    if config.cwd is not None and not Path(config.cwd).is_dir():
        return f"could not be started: its cwd {config.redact(config.cwd)!r} is no folder"
    if isinstance(error, FileNotFoundError):
        return "could not be started: there is no such command on this agent's PATH; install it"
    return f"could not be started: {error.strerror or error}"


def _tell(remains: Remains, sentence: str, *, starting: bool) -> str:
    parts = [sentence + "."]
    process = remains.process
    if process is not None and process.garbage:
        line = remains.config.redact(process.garbage)
        parts.append(
            f"It wrote to standard output what is not an MCP message: {line!r}; logs belong to "
            "standard error."
        )
    if starting:
        parts.append(f"See {remains.config.name!r} in {remains.config.path}.")
    words = "" if process is None else process.words.tail()
    if words:
        parts.append(f"Its standard error ended with:\n{words}")
    return " ".join(parts)
