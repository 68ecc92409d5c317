"""One operation on a session: call a tool, read a resource, get a prompt."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import anyio
from mcp import MCPError
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.uri_template import UriTemplate
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_REQUEST,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    REQUEST_TIMEOUT,
    URL_ELICITATION_REQUIRED,
    CallToolResult,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from omx_tasks.errors import OperationError, did_you_mean
from omx_tasks.mcp import retry_hint, values
from omx_tasks.mcp.flights import ELICITATION, ROOTS, SAMPLING, Flight
from omx_tasks.mcp.lines import TOO_LARGE
from omx_tasks.mcp.refusal import Refusal
from omx_tasks.mcp.session import Session

Kind: TypeAlias = Literal["tool", "resource", "prompt"]
Progress: TypeAlias = Callable[[float, float | None, str | None], Awaitable[None] | None]

_ASKS_CODES = (MISSING_REQUIRED_CLIENT_CAPABILITY, URL_ELICITATION_REQUIRED)
# What the SDK says in place of an HTTP answer that is no success and no JSON-RPC.
_HTTP_ERRORS = ("Server returned an error response", "Not Found")
_SSE_TOO_LARGE = "Server-sent event exceeded"
# Statuses of a server that took no call, and those of a gateway that does not know whether it did.
NOT_LET_IN, GATEWAY = (401, 403, 404, 405), (502, 504)
# Servers that may not ask say so in words: "Cannot send 'sampling/createMessage' …".
_ASKS_WORDS = re.compile(
    "|".join(map(re.escape, (SAMPLING, ELICITATION, ROOTS))) + "|List roots not supported"
)


async def call(
    session: Session,
    kind: Kind,
    target: str,
    arguments: dict[str, Any],
    *,
    timeout: float,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Make one call and return its value: ``{"text", "structured", "content"}``.

    ``target`` is a tool's name, a resource's URI (or URI template, filled from ``arguments``), or
    a prompt's name. ``timeout`` is in seconds; when it has passed, or the caller is cancelled, the
    server is told, and the session stays usable. ``on_progress`` gets progress, total and message
    of a tool; it may be a coroutine function. Raises ``OperationError``.
    """
    with session.flights.one() as flight:
        try:
            async with asyncio.timeout(timeout) as flight.clock:
                value = await _ask(session, kind, target, arguments, on_progress)
        except TimeoutError:
            late = f"{_place(session, kind, target)} did not answer within {timeout:g} s"
            raise _blame(session, flight, OperationError("timeout", late)) from None
        except OperationError as error:
            raise _blame(session, flight, error) from None
        except Exception as error:
            told = await _translate(session, kind, target, error, flight.http)
            raise _blame(session, flight, told) from error
        if flight.refusal is not None:
            raise flight.refusal
        return value


async def _ask(
    session: Session,
    kind: Kind,
    target: str,
    arguments: dict[str, Any],
    on_progress: Progress | None,
) -> dict[str, Any]:
    client = session.client
    match kind:
        case "tool":
            tell = None if on_progress is None else _awaitable(on_progress)
            result = await client.call_tool(target, arguments, progress_callback=tell)
            if result.is_error:
                raise _tool_error(session, target, result)
            return values.of_tool(result)
        case "resource":
            return values.of_resource(await client.read_resource(_uri(target, arguments)))
        case "prompt":
            texts = {
                key: value if isinstance(value, str) else json.dumps(value)
                for key, value in arguments.items()
            }
            return values.of_prompt(await client.get_prompt(target, texts))


def _uri(target: str, arguments: dict[str, Any]) -> str:
    if not arguments:
        return target
    if "{" not in target:
        raise OperationError(
            "arguments", f"resource {target!r} takes no arguments; write them into the URI"
        )
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in arguments.items()
    }
    try:
        return UriTemplate.parse(target).expand(texts)
    except (ValueError, TypeError) as error:
        raise OperationError("arguments", f"resource {target!r}: {error}") from error


def _awaitable(report: Progress) -> ProgressFnT:
    async def tell(progress: float, total: float | None, message: str | None) -> None:
        outcome = report(progress, total, message)
        if inspect.isawaitable(outcome):
            await outcome

    return tell


def _tool_error(session: Session, target: str, result: CallToolResult) -> OperationError:
    text = session.config.redact(values.tool_text(result))
    unknown = _unknown(session, "tool", target, text)
    if unknown is not None:
        return unknown
    if _ASKS_WORDS.search(text):
        return OperationError("client_request", _asks(session, text))
    where = _place(session, "tool", target)
    return OperationError("tool", f"{where}: {text or 'reported an error without a text'}")


async def _translate(
    session: Session, kind: Kind, target: str, error: Exception, http: Refusal | None
) -> OperationError:
    where = _place(session, kind, target)
    if isinstance(error, MCPError):
        return await _translate_mcp(session, kind, target, error, http)
    if isinstance(error, anyio.ClosedResourceError | anyio.BrokenResourceError):
        return await session.connection_error()
    if not session.alive:
        return await session.connection_error()
    if isinstance(error, ValidationError):
        problem = "; ".join(detail["msg"] for detail in error.errors()[:3])
        return OperationError("protocol", f"{where}: the answer is not valid MCP: {problem}")
    return OperationError("protocol", f"{where}: {session.config.redact(str(error))}")


async def _translate_mcp(
    session: Session, kind: Kind, target: str, error: MCPError, http: Refusal | None
) -> OperationError:
    text = session.config.redact(error.message)
    if _SSE_TOO_LARGE in error.message:
        return OperationError("size", f"{_place(session, kind, target)}: {text}")
    if _expired(session, http):
        session.mark_gone()
        place = _place(session, kind, target)
        return OperationError("connection", f"{place}: its session has expired", taken=False)
    if not session.alive or _lost(session, error):
        session.mark_gone()
        return await session.connection_error()
    if error.code in _ASKS_CODES or _ASKS_WORDS.search(text):
        return OperationError("client_request", _asks(session, text))
    where = _place(session, kind, target)
    if error.code == TOO_LARGE:
        return OperationError("size", f"{where}: {text}")
    if error.code == REQUEST_TIMEOUT:
        return OperationError("timeout", f"{where}: {text}")
    unknown = _unknown(session, kind, target, text)
    if unknown is not None:
        return unknown
    if http is not None and error.message in _HTTP_ERRORS:
        return _refused(session, where, http)
    asked = retry_hint.of_data(error.data)
    return OperationError("protocol", f"{where}: MCP error {error.code}: {text}", asked)


def _refused(session: Session, where: str, http: Refusal) -> OperationError:
    """Return the error of a call that was answered with an HTTP status and nothing else."""
    words = f"{where}: {http.text}" + (f"; {http.remedy}" if http.remedy else "")
    kind = "protocol"
    if http.status in NOT_LET_IN:
        kind = "server"
    elif http.status in GATEWAY:
        kind = "connection"
    taken = http.status not in NOT_LET_IN
    return OperationError(kind, session.config.redact(words), http.retry_after, taken=taken)


def _expired(session: Session, http: Refusal | None) -> bool:
    """Up to protocol 2025-11-25 the status 404 says so, whatever else is in the answer."""
    if http is None or http.status != 404:
        return False
    return session.info.protocol not in MODERN_PROTOCOL_VERSIONS


def _lost(session: Session, error: MCPError) -> bool:
    """Over pipes the end is seen itself, and a server may use the same codes for its own errors."""
    if session.config.transport == "stdio":
        return False
    terminated = error.code == INVALID_REQUEST and error.message == "Session terminated"
    return error.code == CONNECTION_CLOSED or terminated


def _unknown(session: Session, kind: Kind, target: str, said: str) -> OperationError | None:
    """Say so when the reason of an error is that the server has no such tool or prompt."""
    if kind == "resource":
        return None
    known = session.names(kind)
    if target in known:
        return None
    return OperationError(
        "protocol",
        f"server {session.name!r} has no {kind} {target!r}.{did_you_mean(target, known)} "
        f"It has: {', '.join(sorted(known)) or 'none'}. It said: {said}",
    )


def _blame(session: Session, flight: Flight, error: OperationError) -> OperationError:
    """Return the error that tells the reason: the server asked back, and was refused."""
    if flight.refusal is not None:
        return flight.refusal
    if flight.asked is not None and error.kind in ("tool", "protocol", "timeout"):
        return session.flights.refusal(flight.asked)
    return error


def _asks(session: Session, text: str) -> str:
    return (
        f"server {session.name!r} needs an answer from its client, which an unattended run "
        f"cannot give: {text}"
    )


def _place(session: Session, kind: Kind, target: str) -> str:
    return f"{kind} {target!r} of server {session.name!r}"
