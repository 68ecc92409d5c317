"""What a server is and offers, for people and for checks, with or without a running system."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.session import Session


def describe(session: Session) -> dict[str, Any]:
    """Return plain JSON about a live session.

    ``server``, ``version``, ``protocol``, ``cold_seconds`` (to start and negotiate), and the lists
    ``tools``, ``resources``, ``resourceTemplates``, ``prompts``.
    """
    return session.description


async def probe(
    config: ServerConfig, deadline: float, *, environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Start a server, describe it, and end it again; ``deadline`` is in seconds.

    ``${…}`` are resolved from ``environ``, this process's environment by default. Raises
    ``ConfigurationError`` and ``OperationError``.
    """
    resolved = config.resolved(os.environ if environ is None else environ)
    session = await Session.open(resolved, deadline=deadline, agent=f"probe-{os.getpid()}")
    try:
        return describe(session)
    finally:
        await session.close()
