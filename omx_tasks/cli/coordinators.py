"""``omx coordinators``: who leads, and how its duties go. ``omx agents`` shows them, too."""

from __future__ import annotations

import time
from dataclasses import asdict

import click
from rich.text import Text

from omx_tasks.cli.output import duration, json_option, print_json, print_table, warn
from omx_tasks.cli.target import existing_store
from omx_tasks.coordination.registry import CoordinatorRecord
from omx_tasks.coordination.registry import coordinators as read_coordinators

NONE = (
    "no coordinator is up: runs go on, but what a crash leaves behind is not mended "
    "(`python -m workers.coordinator`)"
)
TITLES = ("coordinator", "host", "pid", "state", "duties")


@click.command()
@click.option("--duties", is_flag=True, help="Also what the leading one does, and when.")
@json_option
def coordinators(duties: bool, as_json: bool) -> None:
    """List the coordinators that are up; one of them leads.

    It mends what crashes leave behind; runs go on without it.
    """
    found = read_coordinators(existing_store())
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        print_coordinators(found, duties=duties)


def print_coordinators(found: list[CoordinatorRecord], *, duties: bool) -> None:
    """Print a line for each coordinator, the leader first; with ``duties`` a table of the leader's, too."""
    if not found:
        warn(NONE)
        return
    print_table(TITLES, rows(found))
    if duties and found[0].leads:
        told = [_duty(name, one) for name, one in found[0].duties.items()]
        print_table(("duty", "every", "last", "took", "runs", "failures", "what it did"), told)


def rows(found: list[CoordinatorRecord]) -> list[tuple[str | Text, ...]]:
    """Return the table of coordinators."""
    return [_row(one) for one in found]


def _row(one: CoordinatorRecord) -> tuple[str | Text, ...]:
    if one.since is None:
        return one.name, one.host, str(one.pid), "stands by", ""
    duties = Text(f"{len(one.duties)}")
    for name, error in one.failing.items():
        duties.append(f"  {name} fails: {error}", style="red")
    state = f"leads since {duration(max(0.0, time.time() - one.since))}"
    return one.name, one.host, str(one.pid), state, duties


def _duty(name: str, one: dict[str, object]) -> tuple[str | Text, ...]:
    last, took, failing = one["last"], one["seconds"], one["failing"]
    ago = f"{duration(max(0.0, time.time() - float(str(last))))} ago" if last else "-"
    took_text = "under way" if one["running"] else duration(float(str(took))) if took else "-"
    said = Text(str(one["error"]), style="red") if failing else Text(str(one["said"] or ""))
    every = duration(float(str(one["every"])))
    return name, every, ago, took_text, str(one["runs"]), str(one["failures"]), said
