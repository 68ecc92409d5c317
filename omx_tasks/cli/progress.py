"""A run while it goes on: a live picture on a terminal, plain lines elsewhere. Both on standard error."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from omx_tasks.cli.output import duration, first_line, mark, notices
from omx_tasks.cli.present import how_far
from omx_tasks.graph.plan import Plan
from omx_tasks.graph.stored import item_of
from omx_tasks.results.joins import OVER
from omx_tasks.runs.follow import Change

#: More operations than this are shown as a bar with what runs now, not as one line each.
FEW = 30

#: What each operation calls, in the order in which they are shown: ``server.tool``.
Calls: TypeAlias = Mapping[str, str]


def calls_of(plan: Plan) -> Calls:
    """Return what the operations of a plan call."""
    operations = {name: step.operation for name, step in plan.steps.items()}
    return {name: f"{one.server}.{one.target}" for name, one in operations.items()}


class Progress(Protocol):
    """Shows changes one by one."""

    def __enter__(self) -> Progress: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, change: Change) -> None:
        """Show one change."""


def progress_of(calls: Calls) -> Progress:
    """Return what suits the terminal."""
    return LiveProgress(calls) if notices.is_terminal else PlainProgress(calls)


def show_all(progress: Progress, changes: Iterable[Change]) -> None:
    """Show changes until there are no more."""
    with progress:
        for change in changes:
            progress.show(change)


class PlainProgress:
    """One line for each end of an operation: its state, its name, what it called, how long that took."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._over: set[str] = set()

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, change: Change) -> None:
        """Print a line when an operation ends."""
        if not change.operation or change.state not in OVER:
            return
        name, index = item_of(change.operation)
        if index is None:
            self._over.add(name)
        count = f"[{len(self._over)}/{len(self._calls)}]"
        words = (count, f"{change.state:9}", change.operation, self._calls[name], _took(change))
        notices.print(" ".join(words).rstrip(), markup=False, soft_wrap=True)


class LiveProgress:
    """A picture that is drawn again at most ten times a second."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._states = dict.fromkeys(calls, "waiting")
        self._took: dict[str, str] = {}
        self._items: dict[str, Counter[str]] = {name: Counter() for name in calls}
        self._running: dict[str, None] = {}
        self._began = time.monotonic()
        self._live = Live(console=notices, get_renderable=self._picture, refresh_per_second=10)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, change: Change) -> None:
        """Note a change; the picture follows."""
        if not change.operation:
            return
        name, index = item_of(change.operation)
        if change.state == "progress":
            self._took[name] = how_far(change)
            return
        if index is None:
            self._states[name] = change.state
            self._took[name] = _took(change)
        elif change.state in OVER:
            self._items[name][change.state] += 1
        if change.state == "running":
            self._running[change.operation] = None
        else:
            self._running.pop(change.operation, None)

    def _picture(self) -> Table:
        return self._lines() if len(self._states) <= FEW else self._summary()

    def _lines(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(overflow="ellipsis")
        for name, state in self._states.items():
            items = self._items[name].total()
            target = self._calls[name] + (f" ×{items}" if items else "")
            took = Text(self._took.get(name, ""), no_wrap=True, overflow="ellipsis")
            table.add_row(mark(state), name, Text(target, style="dim"), took)
        return table

    def _summary(self) -> Table:
        counts = Counter(self._states.values())
        over = sum(counts[state] for state in OVER)
        table = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=len(self._states), completed=over, width=40)
        table.add_row(bar, f"{over}/{len(self._states)}", f"{time.monotonic() - self._began:.1f} s")
        table.add_row(Text(", ".join(list(self._running)[:8]), style="cyan"))
        return table


def _took(change: Change) -> str:
    if not change.detail.startswith("{"):
        return ""
    record = json.loads(change.detail)
    reason = f"  {first_line(record['error']['message'], 100)}" if record["error"] else ""
    if record["started"] is None:
        return reason
    return duration(record["finished"] - record["started"]) + reason
