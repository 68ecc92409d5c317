"""``--report FILE.html``, and the line that says how a run went against what was possible."""

from __future__ import annotations

from pathlib import Path

import click

from omx_tasks.agents.registry import agents
from omx_tasks.cli.output import complain, duration, say
from omx_tasks.monitoring.report import Report, ideal_of, report_of, slots_for
from omx_tasks.monitoring.timeline import page
from omx_tasks.runs.history import read_history
from omx_tasks.store.client import Store


def _writable(_context: click.Context, _option: click.Parameter, given: str | None) -> Path | None:
    """Refuse a file that could not be written, before anything runs."""
    if given is None:
        return None
    path = Path(given)
    if path.is_dir():
        raise click.BadParameter(f"{given} is a folder; name a file, such as report.html")
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}; make it first")
    return path


report_option = click.option(
    "--report",
    metavar="FILE.html",
    callback=_writable,
    help="Write a page: the timeline, against the ideal schedule.",
)


def read_report(store: Store, run_id: str) -> Report:
    """Return the report of a run as it is stored now."""
    history, records = read_history(store, run_id), agents(store)
    return report_of(history, slots_for(history, records), records)


def read_ideal(store: Store, run_id: str) -> float:
    """Return the seconds that a run would have taken on its ideal schedule."""
    history = read_history(store, run_id)
    return ideal_of(history, slots_for(history, agents(store)))


def write_report(report: Report, path: Path) -> bool:
    """Write the page; says so, or why it could not be."""
    try:
        path.write_text(page(report), encoding="utf-8")
    except OSError as error:
        complain(f"the report could not be written to {path}: {error.strerror}")
        return False
    say(f"report: {path}")
    return True


def against_ideal(seconds: float, ideal: float) -> str:
    """Return the achieved time beside the ideal one, in a few words; nothing where nothing was called."""
    if ideal <= 0:
        return ""
    return f"ideal {_exact(ideal)} · achieved {_exact(seconds)} ({seconds / ideal:.2f}x)"


def _exact(seconds: float) -> str:
    return duration(seconds) if seconds < 1 else f"{seconds:.2f} s"
