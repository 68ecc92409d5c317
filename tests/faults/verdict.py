"""Holds the books of an endurance side by side: each function prints a table, and yields what is wrong."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

from census import Census
from load import longest_gap
from publisher import ACKED, ANSWERED, REFUSED, UNANSWERED
from scene import ANNOUNCED, Scene, Struck, more_than

#: By how much connections, descriptors and threads may differ from the start's level, whatever their number.
SLACK, FEW = 1.15, 6


def verdict(scene: Scene, before: Census, after: Census) -> list[str]:
    """Print everything and return what is wrong."""
    return [*_books(scene), *_graphs(scene), *_levels(scene, before, after), *_processes(scene)]


def _books(scene: Scene) -> Iterator[str]:
    told, worked = scene.told(), scene.worked.counts()
    acked = sorted(e.at for book in scene.books for e in book.entries() if e.event == ACKED)
    _service(scene.struck, acked, sorted(entry.at for entry in scene.worked.entries()))
    counts = {
        "acknowledged": len(told),
        "lost": len(told - worked.keys()),
        "worked on twice": sum(count - 1 for count in worked.values()),
        "refused": sum(sum(book.counts(REFUSED).values()) for book in scene.books),
        "refused, yet stored": len(
            worked.keys() & {n for b in scene.books for n in b.counts(REFUSED)}
        ),
        "results read": sum(sum(book.counts(ANSWERED).values()) for book in scene.books),
        "results missing": sum(sum(book.counts(UNANSWERED).values()) for book in scene.books),
    }
    reports = scene.reports()
    counts |= {
        "waiting": sum(sum(report.stats.waiting) for report in reports),
        "leased": sum(report.stats.leased for report in reports),
        "delayed": sum(report.stats.delayed for report in reports),
        "dead": sum(report.stats.dead for report in reports),
        "unaccounted for": sum(abs(report.missing) for report in reports),
    }
    _print("messages", counts)
    for word in (
        "lost",
        "results missing",
        "waiting",
        "leased",
        "delayed",
        "dead",
        "unaccounted for",
    ):
        if counts[word]:
            yield f"messages: {counts[word]} {word}"


def _service(struck: list[Struck], acked: list[float], worked: list[float]) -> None:
    """Print for each kind of blow how often it was dealt, and the longest times without service after it."""
    print(
        f"\n{'blow':<36}{'times':>6}{'outage':>10}{'gap':>10}   (longest: nothing acknowledged, nothing worked on)"
    )
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one, following in itertools.zip_longest(struck, struck[1:]):
        end = following.since if following else one.since + 30
        spans = ([at for at in moments if one.since < at < end] for moments in (acked, worked))
        outage, gap = (longest_gap(one.since, span) for span in spans)
        found[one.name].append((outage, gap))
    for name, spans in sorted(found.items()):
        outage, gap = (max(span) for span in zip(*spans, strict=True))
        print(f"{name:<36}{len(spans):>6}{outage:>8.1f} s{gap:>8.1f} s")


def _graphs(scene: Scene) -> Iterator[str]:
    graphs, calls = scene.graphs, scene.graphs.calls()
    expected = {name for names in graphs.submitted.values() for name in names}
    counts = {
        "submitted": len(graphs.submitted),
        "succeeded": graphs.states["succeeded"],
        "ended otherwise": graphs.states.total() - graphs.states["succeeded"],
        "stuck": graphs.open,
        "refused": len(graphs.refused),
        "calls": len(expected),
        "calls never made": len(expected - calls.keys()),
        "calls made twice": sum(calls[name] - 1 for name in expected if calls[name]),
    }
    _print("graphs", counts)
    for reason in graphs.reasons[:10]:
        print(f"    {reason}")
    for word in ("ended otherwise", "stuck", "calls never made"):
        if counts[word]:
            yield f"graphs: {counts[word]} {word}"


def _levels(scene: Scene, before: Census, after: Census) -> Iterator[str]:
    """Print keys and connections, and yield what did not come back."""
    print(f"\n{'keys':<36}{'start':>8}{'end':>8}{'entries':>10}{'at end':>8}")
    for kind in sorted({*before.keys, *after.keys}):
        numbers = (before.keys[kind], after.keys[kind], before.entries[kind], after.entries[kind])
        print(f"{kind:<36}{numbers[0]:>8}{numbers[1]:>8}{numbers[2]:>10}{numbers[3]:>8}")
    for title, first, last in (
        ("clients", before.clients, after.clients),
        ("nodes", before.nodes, after.nodes),
    ):
        print(f"\n{'connections of ' + title:<36}{'start':>8}{'end':>8}")
        for name in sorted({*first, *last}):
            print(f"{name:<36}{first[name]:>8}{last[name]:>8}")
    for kind, count in more_than(after, before).items():
        yield f"keys: {count} more of {kind}"
    if (announced := after.entries[ANNOUNCED]) > len(scene.graphs.refused):
        yield f"{announced} runs are open, and only {len(scene.graphs.refused)} were refused"
    for name, count in after.clients.items():
        if not _like(count, before.clients[name]):
            yield f"connections of {name}: {count} instead of {before.clients[name]}"


def _processes(scene: Scene) -> Iterator[str]:
    """Print what processes hold at the start, in the middle (under load) and at the end; yield what grew."""
    print(f"\n{'process':<14}{'starts':>7}{'descriptors':>20}{'threads':>20}{'MiB':>20}")
    for member in scene.crew:
        columns = [
            " ".join(f"{value:.0f}" for value in values)
            for values in zip(*member.usages, strict=True)
        ]
        print(
            f"{member.name:<14}{member.starts:>7}" + "".join(f"{column:>20}" for column in columns)
        )
        first, last = member.usages[0], member.usages[-1]
        for what in ("descriptors", "threads"):
            if not _like(getattr(last, what), getattr(first, what)):
                yield f"{member.name}: {getattr(last, what)} {what} instead of {getattr(first, what)}"


def _like(count: int, level: int) -> bool:
    """Whether a number is back at its level."""
    return count <= max(level * SLACK, level + FEW)


def _print(title: str, counts: dict[str, int]) -> None:
    print(f"\n{title}")
    for word, count in counts.items():
        print(f"    {word:<32}{count:>10,}", flush=True)
