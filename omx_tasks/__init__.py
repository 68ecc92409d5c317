"""Run graphs of Model Context Protocol operations as Celery tasks on a Redis Cluster.

``from omx_tasks import Graph, Operation, Priority, Run`` is the Python interface; see `omx_tasks.api`.
"""

from omx_tasks.priorities import Priority

__all__ = ["Graph", "Operation", "Priority", "Run"]


def __getattr__(name: str) -> object:
    """Import the interface when it is first used: ``celery -A omx_tasks`` must not pay for it."""
    if name in ("Graph", "Run"):
        from omx_tasks import api

        return getattr(api, name)
    if name == "Operation":
        from omx_tasks.graph.model import Operation

        return Operation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
