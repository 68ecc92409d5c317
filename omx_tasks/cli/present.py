"""A run that is over, as a person reads it: what failed, the answer, and how long each operation took."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from omx_tasks.cli.output import MARKS, duration, first_line
from omx_tasks.graph.plan import Plan
from omx_tasks.runs.view import OperationView, RunView

_COLORS = {"succeeded": "green", "running": "cyan"}


def show_run(console: Console, view: RunView) -> None:
    """Print one line about the run and a table of its operations."""
    color = _COLORS.get(view.state, "red")
    console.print(
        f"[bold]{view.name}[/] {view.run}  [{color}]{view.state}[/] in {duration(view.seconds)}"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("", "operation", "agent", "call", "result"):
        table.add_column(title, no_wrap=title != "result", overflow="fold")
    for name, found in view.operations.items():
        _add(table, name, found)
    console.print(table)


def _add(table: Table, name: str, found: OperationView | list[OperationView]) -> None:
    if isinstance(found, list):
        for index, one in enumerate(found):
            _row(table, f"{name}[{index}]", one)
    else:
        _row(table, name, found)


def _row(table: Table, name: str, one: OperationView) -> None:
    said = one.error["message"] if one.error else first_line(one.text)
    agent = (one.agent or "").partition("@")[0]
    table.add_row(MARKS[one.state], name, agent, duration(one.seconds), Text(said))


def show_answer(console: Console, plan: Plan, view: RunView) -> None:
    """Print the text of each operation that nothing follows: the answer of the graph."""
    for name, step in plan.steps.items():
        if step.successors:
            continue
        found = view.operations[name]
        for one in found if isinstance(found, list) else [found]:
            if one.text:
                console.print(Text(one.text))


def failures(view: RunView) -> list[str]:
    """Return a sentence for each operation that failed or is unknown."""
    sentences = []
    for name, found in view.operations.items():
        for index, one in enumerate(found if isinstance(found, list) else [found]):
            if one.error and one.state in ("failed", "unknown"):
                place = f"{name}[{index}]" if isinstance(found, list) else name
                sentences.append(f"operation {place!r} {one.state}: {one.error['message']}")
    return sentences
