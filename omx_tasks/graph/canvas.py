"""A plan as real Celery canvas: groups for what is released together, chords for the joins, error links to fallbacks.

Celery lets a task be in one chord only and copies a nested canvas into every message. Here each
group and chord is flat, and the messages of a run carry only ``MARKER``: it makes Celery report
each finished task to the result backend, which counts it into all the chords that it is part of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from celery.canvas import Signature, chain, chord, group

from omx_tasks.graph.marker import MARKER, OPERATION
from omx_tasks.graph.plan import Plan


@dataclass(frozen=True)
class Canvas:
    """The groups by what releases them (``()`` is the start), and one chord per join by its id.

    ``errors`` has each operation with a fallback, linked to that.
    """

    groups: dict[tuple[str, ...], group]
    chords: dict[str, chord]
    errors: dict[str, Signature]


def operation(run: str, name: str) -> Signature:
    """Return the signature of one operation as it is sent, with the marker."""
    return _plain(run, name).set(chord=MARKER)


def signatures(plan: Plan, run: str = "RUN") -> Canvas:
    """Return the groups and chords of a plan; ``run`` is the run's id in their arguments."""
    return Canvas(
        groups={
            needs: group([operation(run, name) for name in names])
            for needs, names in plan.releases.items()
        },
        chords={
            name: chord(
                [operation(run, need) for need in plan.steps[name].needs], operation(run, name)
            )
            for name in plan.joins
        },
        errors={
            name: operation(run, name).on_error(operation(run, instead))
            for name, instead in plan.fallbacks.items()
        },
    )


def describe(plan: Plan) -> str:
    """Return the groups and chords as text, one a line, in the order in which they are reached."""
    return "\n".join(_lines(plan))


def series_parallel(plan: Plan, run: str = "RUN") -> Signature | None:
    """Return one nested canvas with exactly this plan's order, as stock Celery could run it.

    None where there is no such canvas: where parallel branches share some, but not all of their
    needs, and where there are fallbacks.
    """
    if not plan.steps or plan.fallbacks:
        return None
    return _nested(list(plan.steps), _ancestors(plan), run)


def _plain(run: str, name: str) -> Signature:
    return Signature(OPERATION, args=(run, name), immutable=True)


def _lines(plan: Plan) -> Iterator[str]:
    for needs, names in plan.releases.items():
        if len(needs) > 1:
            yield from (f"chord([{', '.join(needs)}], {name})" for name in names)
        else:
            start = f"{needs[0]} → " if needs else ""
            yield f"{start}group({', '.join(names)})"
    for name, instead in plan.fallbacks.items():
        others = [need for need in plan.steps[instead].needs if need != name]
        yield f"{name}.on_error({instead})" + (f" after {', '.join(others)}" if others else "")


def _ancestors(plan: Plan) -> dict[str, int]:
    """Return, for each id, all it waits for directly or not, as the bits of one number."""
    bits: dict[str, int] = {}
    for number, (name, step) in enumerate(plan.steps.items()):
        bits[name] = 1 << number
        for need in step.needs:
            bits[name] |= bits[need]
    return bits


def _nested(names: list[str], ancestors: dict[str, int], run: str) -> Signature | None:
    """Split into parts that follow each other, else into independent parts, and so on."""
    if len(names) == 1:
        return _plain(run, names[0])
    stages = _stages(names, ancestors)
    parts = stages if len(stages) > 1 else _islands(names, ancestors)
    if len(parts) == 1:
        return None
    nested = [_nested(part, ancestors, run) for part in parts]
    if None in nested:
        return None
    return chain(*nested) if len(stages) > 1 else group(nested)


def _stages(names: list[str], ancestors: dict[str, int]) -> list[list[str]]:
    """Cut wherever everything before the cut is an ancestor of everything behind it."""
    inside = _bits(names, ancestors)
    names = sorted(names, key=lambda name: (ancestors[name] & inside).bit_count())
    shared = [inside]
    for name in reversed(names):
        shared.append(shared[-1] & ancestors[name])
    shared.reverse()
    stages: list[list[str]] = []
    before = 0
    for name, common in zip(names, shared, strict=False):
        if before & ~common == 0:
            stages.append([])
        stages[-1].append(name)
        before |= _bits([name], ancestors)
    return stages


def _islands(names: list[str], ancestors: dict[str, int]) -> list[list[str]]:
    """Return the parts between which nothing waits."""
    inside = _bits(names, ancestors)
    islands: list[tuple[int, list[str]]] = []
    for name in names:
        bits = ancestors[name] & inside
        merged: list[str] = []
        for island in [island for island in islands if island[0] & bits]:
            islands.remove(island)
            bits, merged = bits | island[0], merged + island[1]
        islands.append((bits, [*merged, name]))
    return [members for _, members in islands]


def _bits(names: Iterable[str], ancestors: dict[str, int]) -> int:
    """Return the own bits of these operations: the highest one of each, as ancestors come first."""
    return sum(1 << ancestors[name].bit_length() - 1 for name in names)
