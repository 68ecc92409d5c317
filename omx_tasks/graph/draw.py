"""A plan for people: a diagram (Mermaid, Graphviz) and a table, so that it can be judged before it runs."""

from __future__ import annotations

from omx_tasks.graph.plan import Plan, Step

SOURCES = {
    "expect": "expect",
    "graph": "measured in this graph",
    "call": "measured elsewhere",
    "default": "assumed",
}
"""How a person is told where a duration comes from."""

_HEADINGS = ("id", "calls", "needs", "lasts", "rank", "released with")


def mermaid(plan: Plan) -> str:
    """Return a Mermaid flowchart: a solid arrow carries data, a dotted one only order.

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
            lines.append(f"    {numbers[need]} -> {numbers[name]}{dotted}")
    return "\n".join([*lines, "}"])


def text(plan: Plan) -> str:
    """Return a table, one operation a line; its rank is the longest path that begins with it."""
    rows = [_HEADINGS, *(_row(plan, name) for name in plan.steps)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _row(plan: Plan, name: str) -> tuple[str, ...]:
    step = plan.steps[name]
    together = [other for other in plan.releases[step.needs] if other != name]
    lasts = f"{step.seconds:.2f} s ({SOURCES[step.source]})"
    rank = f"{step.rank:.2f} s"
    return name, _call(step), _listed(step.needs), lasts, rank, _listed(together)


def _call(step: Step) -> str:
    operation = step.operation
    return f"{operation.server} {operation.kind} {operation.target}" + (
        " for each" if operation.foreach else ""
    )


def _listed(names: tuple[str, ...] | list[str]) -> str:
    """Return the names, the first few where there are many."""
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown or "-"


def _escaped(value: str) -> str:
    return (
        value.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    )


def _quoted(*lines: str) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
