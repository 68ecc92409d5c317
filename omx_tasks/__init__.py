"""Run graphs of Model Context Protocol operations as Celery tasks on a Redis Cluster.

``from omx_tasks import AsyncClient, Graph, Operation, Priority, Run, on, publish`` is the Python interface; see
`omx_tasks.api`, `omx_tasks.async_client` for the first, and `omx_tasks.events` for the last two.
"""

from omx_tasks.priorities import Priority

__all__ = ["AsyncClient", "Graph", "Operation", "Priority", "Run", "on", "publish"]


def __getattr__(name: str) -> object:
    """Import the interface when it is first used: ``celery -A omx_tasks`` must not pay for it."""
    if name in ("Graph", "Run"):
        from omx_tasks import api

        return getattr(api, name)
    if name == "AsyncClient":
        from omx_tasks.async_client import AsyncClient

        return AsyncClient
    if name == "Operation":
        from omx_tasks.graph.model import Operation

        return Operation
    if name == "publish":
        from omx_tasks.events.bus import publish

        return publish
    if name == "on":
        from omx_tasks.events.handlers import on

        return on
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
