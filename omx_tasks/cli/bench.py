"""``omx bench``: measure on this machine, beside what others do."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.table import Table

from omx_tasks.bench.broker import QUICK, Comparison, Size, compare
from omx_tasks.bench.figures import MEASURES, Figure
from omx_tasks.bench.submit import Sample
from omx_tasks.bench.submit import measure as measure_submit
from omx_tasks.cli.output import print_json, results, say


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
