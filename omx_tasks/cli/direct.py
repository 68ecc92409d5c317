"""Servers without a system: each is started for one question or one call, and ended again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from omx_tasks.errors import OmxError, OperationError, UnavailableError
from omx_tasks.graph import references
from omx_tasks.graph.checks import check
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.catalogue import probe
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.mcp.session import Session
from omx_tasks.runs.view import OperationView
from omx_tasks.settings import current


def probe_all(configs: Mapping[str, ServerConfig]) -> tuple[dict[str, Any], dict[str, str]]:
    """Ask all of these servers at once; return what they offer, and why some could not be asked."""
    offered: dict[str, Any] = {}
    broken: dict[str, str] = {}
    deadline = current().server_start_timeout
    loop = LoopThread()
    loop.start()
    try:
        asked = {
            name: loop.submit(probe(config, deadline, environ=os.environ))
            for name, config in configs.items()
        }
        for name, future in asked.items():
            try:
                declared = {"read_only": sorted(configs[name].hints.read_only)}
                offered[name] = {**future.result(), "turns": declared}
            except OmxError as error:
                broken[name] = str(error)
    finally:
        loop.stop()
    return offered, broken


def call_once(config: ServerConfig, operation: Operation) -> OperationView:
    """Make one call. Raises `GraphError` where it cannot succeed, `UnavailableError` where the server cannot start."""
    loop = LoopThread()
    loop.start()
    try:
        value = loop.run(_one_call(config, operation))
    except OperationError as error:
        return OperationView("failed", error=error.as_json())
    finally:
        loop.stop()
    return OperationView("succeeded", text=value["text"], structured=value["structured"])


async def _one_call(config: ServerConfig, operation: Operation) -> dict[str, Any]:
    resolved = config.resolved(os.environ)
    deadline = current().server_start_timeout
    try:
        session = await Session.open(resolved, deadline=deadline, agent=f"call-{os.getpid()}")
    except OperationError as error:
        raise UnavailableError(error.message) from error
    try:
        graph = Graph(name="call", operations=(operation,))
        check(graph, servers={config.name}, catalogue={config.name: session.description})
        tool, arguments = operation.target, references.resolve(operation.arguments, {})
        return await call(session, "tool", tool, arguments, timeout=operation.timeout)
    finally:
        await asyncio.shield(session.close())
