"""``omx stats``: how often what is called, how often it fails, how long it takes and waits."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import click
from rich.text import Text

from omx_tasks import settings
from omx_tasks.agents.registry import agents
from omx_tasks.cli.output import duration, json_option, print_json, print_table, say, warn
from omx_tasks.cli.target import existing_store
from omx_tasks.events.lag import Lag, lag
from omx_tasks.monitoring.histogram import ERROR
from omx_tasks.monitoring.statistics import OTHER, Statistics, figures, statistics
from omx_tasks.monitoring.tally import Dimension
from omx_tasks.monitoring.tracker import Tracker
from omx_tasks.settings import Settings, Told
from omx_tasks.store.client import Store

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_LAST = re.compile(r"(\d+(?:\.\d+)?)(s|min|m|h|d)")
NEVER = (
    "nothing was counted yet: a coordinator counts what happens (`omx up --detach` has one, "
    "`python -m workers.coordinator` is one); then `omx run GRAPH`"
)
#: What is uneven about the counts when not all operations are told of.
_UNTOLD = {
    Told.NONE: "of no operations (OMX_EVENTS_OPERATIONS=none): they are not in these counts",
    Told.FAILED: "only of operations that failed (OMX_EVENTS_OPERATIONS=failed): counts, rates and times "
    "are of those alone",
}


class _Last(click.ParamType[float]):
    """A while: a number and its unit."""

    name = "while"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        match = _LAST.fullmatch(value)
        if match is None or not float(match[1]):
            self.fail(f"{value!r} is no while: write 90s, 15m, 1h or 2d", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


@click.command()
@click.option(
    "--by",
    type=click.Choice([one.value for one in Dimension]),
    default=Dimension.OPERATION.value,
    show_default=True,
    help="What counts are told apart by.",
)
@click.option(
    "--last",
    type=_Last(),
    default="1h",
    show_default=True,
    help="As `15m`, `6h`, `2d`: how far back.",
)
@json_option
def stats(by: str, last: float, as_json: bool) -> None:
    """Show how often things were done, and how long they took.

    What took most time comes first. Rates are those of the whole time shown. Failed is also what is unknown. Calls are
    timed from their begin to their answer, waiting from when an operation was ready until an agent began it;
    `capabilities` counts operations when they became ready, all else when they were over. Times are at most 4.4 % off.
    """
    store, given, dimension = existing_store(), settings.current(), Dimension(by)
    if last > given.stats_hours:
        warn(f"counts are kept for {_while(given.stats_hours)} (OMX_STATS_HOURS), not longer")
    found = statistics(store, dimension, last, given)
    left = lag(store, Tracker(store, given).handler(), given.events_partitions)
    if as_json:
        print_json(_as_json(found, dimension, left))
    elif not found.series:
        say(_nothing(found, dimension, last))
    else:
        _print(found, dimension)
    _warn(store, given, found, left)


def _nothing(found: Statistics, dimension: Dimension, last: float) -> str:
    if found.since is None:
        return NEVER
    if dimension is Dimension.TEMPLATE:
        return "no operation was done by an agent with a template (OMX_TEMPLATE) in that time"
    return f"nothing was counted in the last {_while(last)}: look back further with --last 6h, 2d …"


def _print(found: Statistics, dimension: Dimension) -> None:
    began = datetime.fromtimestamp(found.ends - found.seconds).strftime("%Y-%m-%d %H:%M")
    say(f"the last {_while(found.seconds)}, since {began}")
    print_table(*_table(found, dimension))


def _table(found: Statistics, dimension: Dimension) -> tuple[list[str], list[list[str | Text]]]:
    """Return the titles and the rows; events are counted, and not timed."""
    timed = dimension is not Dimension.EVENT
    titles = ["count", "per s"]
    if timed:
        titles += ["failed", "call p50", "p90", "p99", "waiting p50", "p99"]
    rows: list[list[str | Text]] = []
    for name, count in found.busiest():
        said = figures(count, found.seconds)
        row: list[str | Text] = [f"{count.number:,}", _rate(said["per_second"])]
        if timed:
            call, waiting = said["call"], said["waiting"]
            row.append(_failed(count.failed, count.number))
            row += [duration(call[part]) or "-" for part in ("p50", "p90", "p99")]
            row += [duration(waiting[part]) or "-" for part in ("p50", "p99")]
        rows.append([*row, name or OTHER])
    return [*titles, dimension.value], rows


def _rate(per_second: float) -> str:
    return f"{per_second:.0f}" if per_second >= 100 else f"{per_second:.3g}"


def _failed(failed: int, number: int) -> Text:
    if not failed:
        return Text("-", "dim")
    return Text(f"{failed / number:.1%}", "red")


def _while(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def _as_json(found: Statistics, dimension: Dimension, left: Lag) -> dict[str, Any]:
    return {
        "by": dimension.value,
        "begins": found.ends - found.seconds,
        "ends": found.ends,
        "error": round(ERROR, 4),
        "late": found.late,
        "uncounted": left.behind,
        "dropped": left.dropped,
        "series": [
            {"name": name or OTHER, **figures(count, found.seconds)}
            for name, count in found.busiest()
        ],
    }


def _warn(store: Store, given: Settings, found: Statistics, left: Lag) -> None:
    """Say what is not in the counts."""
    if "" in found.series:
        warn(
            f"{found.series[''].number:,} are counted together as {OTHER}: only {given.stats_series} are counted "
            "each by itself (OMX_STATS_SERIES)"
        )
    heard = agents(store)
    for told, why in _UNTOLD.items():
        if names := [agent.name for agent in heard if agent.tells == told]:
            warn(f"{', '.join(names)}: tells {why}")
    if left.behind:
        warn(f"{left.behind:,} events are not counted yet; a coordinator does that")
    if left.dropped:
        warn(f"{left.dropped:,} events were dropped before they were counted (OMX_EVENTS_LIMIT)")
    if found.late:
        warn(f"{found.late:,} events came too late to be counted (OMX_STATS_HOURS)")
