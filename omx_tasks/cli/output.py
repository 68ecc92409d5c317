"""How the command line speaks: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from omx_tasks.logs.lines import Lines

#: For progress, notices and tables that are not the result itself.
notices = Console(stderr=True, highlight=False)

_MARKS = {
    "waiting": ("·", "dim"),
    "running": ("▸", "cyan"),
    "succeeded": ("✔", "green"),
    "failed": ("✘", "red"),
    "unknown": ("?", "magenta"),
    "skipped": ("↷", "yellow"),
    "cancelled": ("■", "yellow"),
}
_GAP, _NARROWEST = 2, 20

json_option = click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
config_option = click.option(
    "--mcp-config", metavar="FILE", help="MCP server file.  [default: .mcp.json, mcp.json]"
)


def say(text: str, end: str = "\n") -> None:
    """Print a notice."""
    notices.print(text, style="dim", markup=False, soft_wrap=True, end=end)


def complain(text: str) -> None:
    """Print what is wrong."""
    if isinstance(notices.file, Lines):
        notices.file.log(logging.ERROR, text)
        return
    notices.print(f"omx: {text}", style="red", markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print what may be wrong, and does not matter for what was asked."""
    if isinstance(notices.file, Lines):
        notices.file.log(logging.WARNING, text)
        return
    notices.print(f"omx: warning: {text}", style="yellow", markup=False, soft_wrap=True)


def print_json(data: Any) -> None:
    """Print one line with one object."""
    click.echo(json.dumps(data, ensure_ascii=False))


def results() -> Console:
    """Return the console for results (made when used: tests and pipes replace standard output)."""
    return Console(highlight=False)


def mark(state: str) -> Text:
    """Return the sign of a state."""
    return Text(*_MARKS[state])


def print_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    elastic: Mapping[int, int] | None = None,
) -> None:
    """Print one line a row. On a terminal the last column gets what is left of the width; a pipe gets all.

    Other columns that may be cut, too, are ``elastic``, with how narrow each may become.
    """
    console = results()
    able = {len(titles) - 1: _NARROWEST, **(elastic or {})}
    for line in table_lines(titles, rows, width_of(console), able):
        console.print(line, soft_wrap=True)


def width_of(console: Console) -> int | None:
    """Return the columns that there are; None where nobody counts them."""
    return console.width if console.is_terminal else None


def table_lines(
    titles: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    width: int | None,
    elastic: Mapping[int, int],
) -> list[Text]:
    """Return the lines of a table. To keep within ``width`` the widest of the ``elastic`` columns are cut.

    ``elastic`` says of each how narrow it may become.
    """
    lines = [[Text(title, style="dim") for title in titles], *([*map(_text, row)] for row in rows)]
    widths = [max(line[column].cell_len for line in lines) for column in range(len(titles))]
    if width is not None:
        _shrink(widths, width - _GAP * (len(titles) - 1), elastic)
    return [_line(line, widths) for line in lines]


def _shrink(widths: list[int], total: int, elastic: Mapping[int, int]) -> None:
    while sum(widths) > total:
        able = [column for column, least in elastic.items() if widths[column] > least]
        if not able:
            return
        widths[max(able, key=widths.__getitem__)] -= 1


def _line(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    whole = Text()
    for cell, width in zip(cells, widths, strict=True):
        cell.truncate(width, overflow="ellipsis", pad=True)
        whole.append_text(cell).append(" " * _GAP)
    whole.rstrip()
    return whole


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def duration(seconds: float | None) -> str:
    """Return seconds as a person reads them: ``3.2 ms``, ``0.42 s``, ``75 s``."""
    if seconds is None:
        return ""
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def age(seconds: float | None) -> str:
    """Return how long ago something was, as a person reads it; a dash where that is not known."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return duration(seconds)


def brief(reason: str) -> str:
    """Return why a server is broken without what it wrote: its log has that."""
    return reason.partition("\n")[0].removesuffix(" Its standard error ended with:")


def first_line(text: str | None, width: int = 200) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join((text or "")[: width * 4].split())
    return line if len(line) <= width else line[: width - 1] + "…"
