"""A run as a person reads it: what failed, the answer, and how long each operation took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.text import Text

from omx_tasks.cli.output import complain, duration, first_line, mark, print_table, say
from omx_tasks.graph.plan import Plan
from omx_tasks.graph.stored import item_of
from omx_tasks.runs.follow import Change
from omx_tasks.runs.view import OperationView, RunView

#: Of more answers or failures than this, only so many are shown.
MANY = 20
_COLORS = {"succeeded": "green", "running": "cyan"}


def show_run(console: Console, view: RunView, waits: Mapping[str, str] | None = None) -> None:
    """Print one line about the run and a table of its operations; ``waits`` says what some wait for."""
    state = (view.state, _COLORS.get(view.state, "red"))
    took = f" {'in' if view.over else 'for'} {duration(view.seconds)}{shared(view)}{why(view)}"
    console.print(Text.assemble((view.name, "bold"), f" {view.run}  ", state, took), soft_wrap=True)
    rows = [_row(name, one, (waits or {}).get(name)) for name, one in _each(view)]
    print_table(("", "operation", "agent", "call", "result"), rows)


def _each(view: RunView) -> Iterator[tuple[str, OperationView]]:
    """Yield every operation by name, the items of a foreach one by one."""
    for name, found in view.operations.items():
        if isinstance(found, list):
            yield from ((f"{name}[{index}]", one) for index, one in enumerate(found))
        else:
            yield name, found


def _row(name: str, one: OperationView, waits: str | None) -> tuple[str | Text, ...]:
    said = first_line(one.error["message"] if one.error else one.text or waits)
    agent = (one.agent or "").partition("@")[0]
    return mark(one.state), name, agent, duration(one.seconds), said


def show_answer(console: Console, plan: Plan, view: RunView) -> None:
    """Print the text of each operation that nothing follows: the answer of the graph."""
    ends = {name for name, step in plan.steps.items() if not step.successors}
    texts = [one.text for name, one in _each(view) if item_of(name)[0] in ends and one.text]
    for text in texts[:MANY]:
        console.print(Text(text), soft_wrap=True)
    _say_more(len(texts), "answers", view.run)


def shared(view: RunView) -> str:
    """Return how many calls were spared, or an empty text."""
    return f", {view.shared} of its calls shared with equal ones" if view.shared else ""


def why(view: RunView) -> str:
    """Return why a run was cancelled, or an empty text."""
    return f": {view.error['message']}" if view.error else ""


def how_far(change: Change) -> str:
    """Return a running operation's progress in a few words, or an empty text."""
    told = change.progress
    if told is None:
        return ""
    words = f"{told.progress:g}" if told.total is None else f"{told.progress:g}/{told.total:g}"
    return first_line(f"{words} {told.message or ''}".rstrip(), 100)


def complain_of_failures(view: RunView) -> None:
    """Print what failed, the first few where there are many."""
    sentences = failures(view)
    for sentence in sentences[:MANY]:
        complain(sentence)
    _say_more(len(sentences), "failures", view.run)


def _say_more(count: int, what: str, run: str) -> None:
    if count > MANY:
        say(f"and {count - MANY:,} more {what}: `omx result {run} --json` has all of them")


def failures(view: RunView) -> list[str]:
    """Return a sentence for each operation that failed or is unknown."""
    return [
        f"operation {name!r} {one.state}: {one.error['message']}"
        for name, one in _each(view)
        if one.error and one.state in ("failed", "unknown")
    ]
