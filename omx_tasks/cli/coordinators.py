"""The coordinators, as ``omx agents`` shows them: who leads, and how its duties go."""

from __future__ import annotations

import time

from rich.text import Text

from omx_tasks.cli.output import duration, print_table, warn
from omx_tasks.coordination.registry import CoordinatorRecord

NONE = (
    "no coordinator is up: runs go on, but what a crash leaves behind is not mended "
    "(`python -m workers.coordinator`)"
)


def print_coordinators(found: list[CoordinatorRecord], *, duties: bool) -> None:
    """Print a line for each coordinator, the leader first; with ``duties`` a table of the leader's, too."""
    if not found:
        warn(NONE)
        return
    print_table(("coordinator", "host", "pid", "state", "duties"), [_row(one) for one in found])
    if duties and found[0].leads:
        rows = [_duty(name, one) for name, one in found[0].duties.items()]
        print_table(("duty", "every", "last", "took", "runs", "failures", "what it did"), rows)


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
