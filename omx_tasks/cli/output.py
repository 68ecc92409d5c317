"""How the command line speaks: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console

#: For progress, notices and tables that are not the result itself.
notices = Console(stderr=True, highlight=False)

MARKS = {
    "waiting": "[dim]·[/]",
    "running": "[cyan]▸[/]",
    "succeeded": "[green]✔[/]",
    "failed": "[red]✘[/]",
    "unknown": "[magenta]?[/]",
    "skipped": "[yellow]↷[/]",
    "cancelled": "[yellow]■[/]",
}


def say(text: str) -> None:
    """Print a notice."""
    notices.print(text, style="dim", markup=False, soft_wrap=True)


def print_json(data: Any) -> None:
    """Print one line with one object."""
    click.echo(json.dumps(data, ensure_ascii=False))


def results() -> Console:
    """Return the console for results (made when used: tests and pipes replace standard output)."""
    return Console(highlight=False)


def duration(seconds: float | None) -> str:
    """Return seconds as a person reads them: ``3.2 ms``, ``0.42 s``, ``75 s``."""
    if seconds is None:
        return ""
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def first_line(text: str | None, width: int = 60) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join((text or "").split())
    return line if len(line) <= width else line[: width - 1] + "…"
