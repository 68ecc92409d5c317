"""How long an operation is taken to last, and how that is known.

A plan's ranks are only as good as its durations. In order: what the graph itself says (``expect``), what was measured
of this operation in earlier runs of a graph of this name, what was measured of the same call in any graph, a constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from omx_tasks.graph.operation import Operation

Source: TypeAlias = Literal["expect", "graph", "call", "default"]

DEFAULT_SECONDS = 1.0
"""How long an operation is taken to last when nothing is known about it."""


class Duration(NamedTuple):
    """Seconds, and where they come from."""

    seconds: float
    source: Source


@dataclass(frozen=True)
class Durations:
    """What was measured: seconds by an operation's id in this graph, and by `call_name`."""

    operations: Mapping[str, float] = field(default_factory=dict)
    calls: Mapping[str, float] = field(default_factory=dict)

    def of(self, operation: Operation) -> Duration:
        """Return the best that is known about an operation; of a foreach, about one of its items."""
        if operation.expect is not None:
            return Duration(operation.expect, "expect")
        seconds = self.operations.get(operation.id)
        if seconds is not None:
            return Duration(seconds, "graph")
        if self.calls:
            name = call_name(operation.server, operation.kind, operation.target)
            if name in self.calls:
                return Duration(self.calls[name], "call")
        return Duration(DEFAULT_SECONDS, "default")


def call_name(server: str, kind: str, target: str) -> str:
    """Return what a call is known by, whichever graph makes it."""
    return f"{server} {kind} {target}"
