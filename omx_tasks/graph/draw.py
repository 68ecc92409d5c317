"""A plan for people: a diagram (Mermaid, Graphviz) and a table, so that it can be judged before it runs."""

from __future__ import annotations

from collections.abc import Iterator

from omx_tasks.graph.plan import Plan, Step

SOURCES = {
    "expect": "expect",
    "graph": "measured in this graph",
    "call": "measured elsewhere",
    "default": "assumed",
}
"""How a person is told where a duration comes from."""

SHOWN = 4
"""Of more names than this in one cell, only so many are shown."""

WHY_BATCHED = (
    "Published, claimed and acked together: ready at the same moment, for the same agents."
)

_HEADINGS = ("id", "calls", "needs", "lasts", "rank", "released with")


def mermaid(plan: Plan) -> str:
    """Return a Mermaid flowchart: a solid arrow carries data, a dotted one only order, or leads to a fallback.

    A foreach has a double frame. Nodes are numbered: ids such as ``end`` are Mermaid's own words.
    """
    numbers = {name: f"n{number}" for number, name in enumerate(plan.steps)}
    lines = ["flowchart LR"]
    for name, step in plan.steps.items():
        label = f'"{_escaped(name)}<br/>{_escaped(_call(step))}"'
        shape = f"[[{label}]]" if step.operation.foreach else f"[{label}]"
        lines.append(f"    {numbers[name]}{shape}")
    for name, step in plan.steps.items():
        for need in step.needs:
            arrow = "-->" if need in step.references else "-.->"
            if need == step.in_place_of:
                arrow = "-. failed .->"
            lines.append(f"    {numbers[need]} {arrow} {numbers[name]}")
    return "\n".join(lines)


def dot(plan: Plan) -> str:
    """Return the same for Graphviz, which draws graphs of any size: Mermaid stops at 500 arrows."""
    numbers = {name: f"n{number}" for number, name in enumerate(plan.steps)}
    lines = [f"digraph {_quoted(plan.graph.name)} {{", "    rankdir=LR", "    node [shape=box]"]
    for name, step in plan.steps.items():
        double = ", peripheries=2" if step.operation.foreach else ""
        lines.append(f"    {numbers[name]} [label={_quoted(name, _call(step))}{double}]")
    for name, step in plan.steps.items():
        for need in step.needs:
            dotted = "" if need in step.references else " [style=dotted]"
            if need == step.in_place_of:
                dotted = " [style=dashed, label=failed]"
            lines.append(f"    {numbers[need]} -> {numbers[name]}{dotted}")
    return "\n".join([*lines, "}"])


def text(plan: Plan) -> str:
    """Return a table, one operation a line, and one of what is grouped and why.

    An operation's rank is the longest path that begins with it.
    """
    parts = [_table([_HEADINGS, *(_row(plan, name) for name in plan.steps)])]
    if batches := [*_batches(plan)]:
        parts += ["", WHY_BATCHED, _table(batches)]
    return "\n".join(parts)


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _batches(plan: Plan) -> Iterator[tuple[str, ...]]:
    """Yield a line for each group of one queue, and for the items of each foreach."""
    for (needs, capabilities), names in plan.batches.items():
        when = f"after {_listed(needs)}" if needs else "at the start"
        yield when, "+".join(capabilities), f"{len(names):,}", _listed(names)
    for name, step in plan.steps.items():
        if step.operation.foreach:
            yield f"in {name}", "+".join(step.capabilities), "n", "its items, once they are known"


def _row(plan: Plan, name: str) -> tuple[str, ...]:
    step = plan.steps[name]
    released = plan.releases.get(step.needs, (name,))
    first = [other for other in released[: SHOWN + 1] if other != name]
    needs = tuple(f"{need} (failed)" if need == step.in_place_of else need for need in step.needs)
    lasts = f"{step.seconds:.2f} s ({SOURCES[step.source]})"
    rank = f"{step.rank:.2f} s"
    return name, _call(step), _listed(needs), lasts, rank, _listed(first, len(released) - 1)


def _call(step: Step) -> str:
    operation = step.operation
    return f"{operation.server} {operation.kind} {operation.target}" + (
        " for each" if operation.foreach else ""
    )


def _listed(names: tuple[str, ...] | list[str], count: int | None = None) -> str:
    """Return the names, the first few where there are many; ``count`` is how many, where more are meant."""
    shown, more = ", ".join(names[:SHOWN]), (count or len(names)) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown or "-"


def _escaped(value: str) -> str:
    return (
        value.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    )


def _quoted(*lines: str) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
