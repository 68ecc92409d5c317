"""Knows which names have a series of their own, since there are never too many; the store decides, once a minute."""

from __future__ import annotations

import time
from collections.abc import Iterable

from omx_tasks.monitoring.tally import Dimension
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call, script

#: The name of the series in which all others are counted.
OTHERS = ""
#: Seconds for which an answer is believed, and how many answers are remembered.
BELIEVED, REMEMBERED = 60.0, 100_000


class Names:
    """At most ``cap`` of a dimension; who was not seen for ``keep`` seconds makes room."""

    def __init__(self, store: Store, cap: int, keep: float) -> None:
        self._store, self._cap, self._keep = store, cap, round(keep * 1000)
        self._admitted: dict[tuple[Dimension, str], bool] = {}
        self._until = 0.0

    def __repr__(self) -> str:
        return f"<Names {len(self._admitted)}>"

    def learn(self, wanted: Iterable[tuple[Dimension, str]]) -> None:
        """Ask for names that are not known; raises `OmxError`."""
        now = time.monotonic()
        if now > self._until or len(self._admitted) > REMEMBERED:
            self._admitted.clear()
            self._until = now + BELIEVED
        new = [one for one in wanted if one not in self._admitted]
        if new:
            answer = self._store.run(self._call(new))
            self._admitted.update(zip(new, map(bool, answer), strict=True))

    def _call(self, new: list[tuple[Dimension, str]]) -> Call:
        dimensions = list(dict.fromkeys(dimension for dimension, _ in new))
        number = {dimension: place for place, dimension in enumerate(dimensions, 1)}
        words = [word for dimension, name in new for word in (number[dimension], name)]
        sets = [keys.counts_names(dimension) for dimension in dimensions]
        return Call(script("admit_1"), sets, (self._cap, self._keep, *words))

    def of(self, dimension: Dimension, name: str) -> str:
        """Return the name under which something is counted whose name was learnt."""
        return name if self._admitted[dimension, name] else OTHERS
