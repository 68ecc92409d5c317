"""What this process has counted, page by page: a page is its own part of a bucket, and nobody else writes there.

So what is stored of a page is its whole count each time, and not something to be added: storing is cheap and can be
done twice. Who reads a bucket adds up the pages of all who counted in it. A page that was not written to for long is
closed; what comes later opens a new one under another name.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field

from omx_tasks.monitoring.counts import Count
from omx_tasks.monitoring.tally import Bucket

#: Pages that are open.
OPEN = 100


@dataclass
class _Page:
    """``name`` is like no other; ``series``: counts by name of what was counted."""

    name: str = field(default_factory=lambda: secrets.token_urlsafe(6))
    series: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))


class Ledger:
    """`add` to it, store what `changes` returns, and `forget` it all where that may not have been stored."""

    def __init__(self) -> None:
        self._pages: OrderedDict[Bucket, _Page] = OrderedDict()
        self._changed: dict[Bucket, set[str]] = defaultdict(set)

    def __repr__(self) -> str:
        return f"<Ledger pages={len(self._pages)}>"

    def add(self, bucket: Bucket, name: str, count: Count) -> None:
        """Count something in a bucket."""
        page = self._pages.get(bucket)
        if page is None:
            page = self._pages[bucket] = _Page()
        page.series[name].add(count)
        self._changed[bucket].add(name)

    def changes(self) -> dict[Bucket, dict[str, bytes]]:
        """Return what is to be stored since this was asked last: of each bucket, fields and what is in them."""
        found = {}
        for bucket, names in self._changed.items():
            page = self._pages[bucket]
            self._pages.move_to_end(bucket)
            found[bucket] = {
                field_of(page.name, name): page.series[name].packed() for name in names
            }
        self._changed.clear()
        while len(self._pages) > max(OPEN, len(found)):
            self._pages.popitem(last=False)
        return found

    def forget(self) -> None:
        """Close all pages."""
        self._pages.clear()
        self._changed.clear()


def field_of(page: str, name: str) -> str:
    """Return the field of a bucket's hash in which a page has a series."""
    return f"{page}:{name}"


def name_of(field: str) -> str:
    """Return the series' name of a field."""
    return field.partition(":")[2]
