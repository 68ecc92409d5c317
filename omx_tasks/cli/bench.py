"""``omx bench``: measure on this machine, beside what others do."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from omx_tasks.bench.agents import QUICK as QUICK_AGENTS
from omx_tasks.bench.agents import SECTIONS
from omx_tasks.bench.agents import Size as AgentsSize
from omx_tasks.bench.agents import measure as measure_agents
from omx_tasks.bench.broker import QUICK, Comparison, Size, compare
from omx_tasks.bench.events import QUICK as QUICK_EVENTS
from omx_tasks.bench.events import Size as EventsSize
from omx_tasks.bench.events import measure as measure_events
from omx_tasks.bench.figures import MEASURES, Figure
from omx_tasks.bench.graphs import AGENTS, GOAL, RECORDED, SLOTS, GraphFigure, measure
from omx_tasks.bench.graphs import Measured as MeasuredGraphs
from omx_tasks.bench.metrics import QUICK as QUICK_METRICS
from omx_tasks.bench.metrics import Size as MetricsSize
from omx_tasks.bench.metrics import measure as measure_metrics
from omx_tasks.bench.operations import QUICK as QUICK_OPERATIONS
from omx_tasks.bench.operations import Size as OperationsSize
from omx_tasks.bench.operations import measure as measure_operations
from omx_tasks.bench.place import Measured, Row
from omx_tasks.bench.redis import QUICK as QUICK_REDIS
from omx_tasks.bench.redis import Size as RedisSize
from omx_tasks.bench.redis import measure as measure_redis
from omx_tasks.bench.scaling import MOST
from omx_tasks.bench.scaling import QUICK as QUICK_WAVE
from omx_tasks.bench.scaling import measure as measure_scaling
from omx_tasks.bench.submit import Sample
from omx_tasks.bench.submit import measure as measure_submit
from omx_tasks.bench.wave import Wave
from omx_tasks.bench.wave import picture as picture_of
from omx_tasks.bench.ways import Compared
from omx_tasks.bench.workflows import read_folder
from omx_tasks.cli.output import print_json, print_table, results, say
from omx_tasks.errors import ConfigurationError

#: Seconds of an ideal schedule in a quick bench.
QUICK_IDEAL = 1.0


@click.group()
def bench() -> None:
    """Measure the product on this machine."""


@bench.command()
@click.option("--pairs", type=click.IntRange(1), default=7, show_default=True, help="Repetitions.")
@click.option("--quick", is_flag=True, help="One small pair: shows that it works, says little.")
@click.option("--json", "as_json", is_flag=True, help="One line with one object.")
def broker(pairs: int, quick: bool, as_json: bool) -> None:
    """Compare stock Celery on one Redis with rediscluster:// on a cluster.

    Both sides run in turns, with servers of their own. Only the ratios say something: they compare
    what ran within the same seconds.
    """
    outcome = compare(1 if quick else pairs, QUICK if quick else Size(), say)
    if as_json:
        print_json(outcome.as_json())
    else:
        results().print(table_of(outcome))


@bench.command()
@click.option(
    "--operations",
    "sizes",
    type=click.IntRange(4),
    multiple=True,
    default=(100, 10_000),
    show_default=True,
    help="In one graph; may be repeated.",
)
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Samples.")
@click.option("--json", "as_json", is_flag=True, help="One line with one object.")
def submit(sizes: tuple[int, ...], repeats: int, as_json: bool) -> None:
    """Measure what it takes to submit a large graph: wide, deep and random ones.

    Each sample is a fresh producer and a graph file of its own, on a cluster that this starts.
    """
    outcome = measure_submit(sizes, repeats, say)
    if as_json:
        print_json({name: asdict(sample) for name, sample in outcome.items()})
    else:
        results().print(table_of_submissions(outcome))


def table_of_submissions(outcome: dict[str, Sample]) -> Table:
    """Return the medians as a table, one graph a line."""
    table = Table(title="submitting a graph")
    titles = ("import s", "load s", "submit s", "memory MiB", "plan KiB", "message B")
    table.add_column("")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for name, one in outcome.items():
        seconds = (f"{value:.3f}" for value in (one.start, one.load, one.submit))
        sizes = (f"{one.memory:.0f}", f"{one.document / 1024:,.0f}", f"{one.message:,}")
        table.add_row(name, *seconds, *sizes)
    return table


@bench.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option(
    "--ideal",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    show_default=True,
    help="Seconds of each graph's ideal schedule.",
)
@click.option("--quick", is_flag=True, help="One second each: shows that it works, says little.")
@click.option("--json", "as_json", is_flag=True, help="One line with one object.")
def graphs(folder: Path | None, ideal: float, quick: bool, as_json: bool) -> None:
    """Run recorded workflows and compare with their ideal schedules.

    FOLDER holds workflows as JSON; a checkout of the project has some. Each runs critical path first,
    then level by level, then first in, first out.
    """
    if folder is None and not RECORDED.is_dir():
        raise ConfigurationError("name a FOLDER with recorded workflows: there are none installed")
    workflows = read_folder(folder or RECORDED)
    outcome = measure(workflows, QUICK_IDEAL if quick else ideal, os.environ, say)
    if as_json:
        print_json(outcome.as_json())
    else:
        _print_graphs(outcome)


def _print_graphs(outcome: MeasuredGraphs) -> None:
    """Print the achieved time, and beside it that of other orders, all to the ideal."""
    slots = f"{AGENTS} agents with {SLOTS} slots each"
    titles = ("graph", "operations", "ideal", "achieved", "", "by level", "", "first in", "")
    print_table(titles, [_graph_row(figure) for figure in outcome.figures])
    say(f"{slots}, {outcome.seconds:.0f} s; goal: achieved {GOAL} of ideal")


def _graph_row(figure: GraphFigure) -> list[str | Text]:
    cells: list[str | Text] = [figure.name, str(figure.operations), f"{figure.ideal:.2f} s"]
    for seconds in (figure.achieved, figure.by_level, figure.first_in):
        cells += [f"{seconds:.2f} s", f"{seconds / figure.ideal:.2f}x"]
    cells[4] = Text(f"{figure.ratio:.2f}x", "green" if GOAL.met(figure.ratio) else "red")
    return cells


@bench.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Repetitions.")
@click.option("--quick", is_flag=True, help="One small round: shows that it works, says little.")
@click.option("--json", "as_json", is_flag=True, help="One line with one object.")
def operations(rounds: int, quick: bool, as_json: bool) -> None:
    """Measure what an operation costs beside its call.

    The same calls run directly, as operations, as operations one at a time, and with stock Celery;
    then operations without a call, hops from one to the next, and many calls at once.
    """
    size = QUICK_OPERATIONS if quick else OperationsSize(rounds=rounds)
    compared, outcome = measure_operations(size, say)
    if as_json:
        print_json({**outcome.as_json(), "ways": compared.as_json()})
    else:
        results().print(table_of_ways(compared), table_of_rows(outcome))


@bench.command()
@click.option("--quick", is_flag=True, help="Few events: shows that it works, says little.")
@click.option("--json", "as_json", is_flag=True, help="One line with one object.")
def events(quick: bool, as_json: bool) -> None:
    """Measure how many events are published and handled, and how late they come.

    Published here, handled in another process, on a cluster that this starts; beside it stock Celery on one Redis,
    with a task for each event.
    """
    outcome = measure_events(QUICK_EVENTS if quick else EventsSize(), say)
    if as_json:
        print_json(outcome.as_json())
    else:
        results().print(table_of_rows(outcome))


@bench.command()
@click.option("--quick", is_flag=True, help="Few commands: shows that it works, says little.")
@click.option("--json", "as_json", is_flag=True, help="One line with one object.")
def redis(quick: bool, as_json: bool) -> None:
    """Measure how long one command to the cluster takes.

    A connection for each command through HAProxy, as naive clients do, the pooled cluster client of redis-py, and ours
    take turns; then all over again beside processes that keep the cluster busy. Needs haproxy.
    """
    outcome = measure_redis(QUICK_REDIS if quick else RedisSize(), say)
    if as_json:
        print_json(outcome.as_json())
    else:
        results().print(table_of_rows(outcome))


@bench.command()
@click.argument("sections", nargs=-1, type=click.Choice([*SECTIONS]), metavar="[SECTION]…")
@click.option(
    "--rounds",
    type=click.IntRange(2),
    default=10,
    show_default=True,
    help="Agents of each kind, for first operations.",
)
@click.option("--quick", is_flag=True, help="Two agents: shows that it works, says little.")
@click.option("--json", "as_json", is_flag=True, help="One line with one object.")
def agents(sections: tuple[str, ...], rounds: int, quick: bool, as_json: bool) -> None:
    """Measure what agents cost, and what it is worth to have them warm.

    \b
    first    the first operation on a cold agent, on a warm one, the second there, and the server alone;
             for five servers, of which those of npm are installed once, into ~/.cache/omx
    spread   200 calls at once, with one agent and with several
    memory   forks of one process beside as many agents that are started one by one
    sharing  one process of each server for all agents beside one for each of them
    ahead    servers opened when their first call comes, and before graphs need them

    All of them, or each SECTION that is named.
    """
    size = QUICK_AGENTS if quick else AgentsSize(rounds=rounds)
    outcome = measure_agents(size, say, sections or tuple(SECTIONS))
    if as_json:
        print_json(outcome.as_json())
    else:
        results().print(table_of_rows(outcome))


@bench.command()
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="An SVG file to write."
)
@click.option("--quick", is_flag=True, help="One short wave: shows that it works, says little.")
@click.option("--json", "as_json", is_flag=True, help="One line with one object.")
def scaling(picture: Path | None, quick: bool, as_json: bool) -> None:
    """Measure how agents follow a load that comes and goes.

    A square wave of operations that sleep: on 1 to 6 agents as the coordinator decides, on one, and on six. What
    operations waited, and for how many seconds agents were there.
    """
    wave = QUICK_WAVE if quick else Wave()
    courses, outcome = measure_scaling(wave, 2 if quick else MOST, say)
    if picture is not None:
        picture.write_text(picture_of(wave, courses), "utf-8")
        say(f"agents over time: {picture}")
    if as_json:
        print_json({**outcome.as_json(), "courses": [asdict(course) for course in courses]})
    else:
        results().print(table_of_rows(outcome))


@bench.command()
@click.option("--quick", is_flag=True, help="Few calls: shows that it works, says little.")
@click.option("--json", "as_json", is_flag=True, help="One line with one object.")
def metrics(quick: bool, as_json: bool) -> None:
    """Measure what it costs to be seen: telling of operations, and a scrape of a large system."""
    outcome = measure_metrics(QUICK_METRICS if quick else MetricsSize(), say)
    if as_json:
        print_json(outcome.as_json())
    else:
        results().print(table_of_rows(outcome))


def table_of_ways(compared: Compared) -> Table:
    """Return the ways to make the same calls: times for all of them, the rest for one."""
    title = f"{compared.calls:,} calls, medians of {len(compared.rounds)} rounds"
    table = Table(title=title, caption="overhead and processor time of each part: µs a call")
    parts = ("agent", "server", "redis", "producer")
    table.add_column("", no_wrap=True)
    for title in ("s", "calls/s", "overhead", *parts):
        table.add_column(title, justify="right", no_wrap=True)
    for name in compared.rounds[0]:
        way = compared.median(name)
        each = (compared.overhead(name), *(way.used[part] for part in parts))
        shown = (f"{seconds * 1e6:,.0f}" for seconds in each)
        table.add_row(name, f"{way.seconds:.2f}", f"{compared.calls / way.seconds:,.0f}", *shown)
    return table


def table_of_rows(outcome: Measured) -> Table:
    """Return the figures, goals beside them; below them what was left out."""
    table = Table(caption="\n".join([f"{outcome.seconds:.0f} s", *outcome.notes]))
    table.add_column("", no_wrap=True)
    for title in ("", "", "goal"):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    for row in outcome.rows:
        color = {True: "green", False: "red", None: "default"}[row.met]
        table.add_row(row.title, f"[{color}]{_number(row.value)}[/]", row.unit, _goal(row))
    return table


def _goal(row: Row) -> str:
    return "" if row.goal is None else f"{row.goal.sign} {row.goal.bound:g}"


def table_of(outcome: Comparison) -> Table:
    """Return the figures as a table, goals beside them."""
    title = f"medians of {outcome.pairs} pairs, {outcome.seconds:.0f} s"
    table = Table(title=title, caption=_beside(outcome))
    table.add_column("")
    for name in ("stock", "ours", "", "ours/stock", "goal"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for figure in outcome.figures:
        table.add_row(*_row(figure))
    return table


def _beside(outcome: Comparison) -> str:
    """Say where stock's figure is that of something else."""
    titles = {measure.key: measure.title for measure in MEASURES}
    return "\n".join(
        f"{figure.measure.title}: beside stock's {titles[figure.measure.beside]}"
        for figure in outcome.figures
        if figure.measure.beside
    )


def _row(figure: Figure) -> list[str]:
    measure = figure.measure
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x"
    color = {True: "green", False: "red", None: "default"}[figure.met]
    return [
        measure.title,
        _number(figure.stock),
        _number(figure.ours),
        measure.unit,
        f"[{color}]{ratio}[/]",
        "" if measure.goal is None else str(measure.goal),
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
