"""What was decided last about how many agents there are to be: for metrics, and for scalers that are not ours."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from omx_tasks.coordination.leader import Term
from omx_tasks.store import keys
from omx_tasks.store.client import Store

NAME = "scaling"
#: Seconds after which it says nothing any more: nobody leads.
STALE = 30.0


@dataclass(frozen=True)
class Decided:
    """Of one kind of agents ``wanted`` there are to be, and ``running`` are warm; ``servers`` are those that they hold.

    ``wait`` is what the next operation is expected to wait, in seconds; None: for an agent. ``managed`` is whether
    nurseries have them. ``changed`` is when they were asked for another number last (Unix seconds), ``reason`` why.
    """

    template: str
    servers: list[str]
    wanted: int
    running: int
    least: int
    most: int
    wait: float | None
    reason: str
    managed: bool
    changed: float | None


def write(term: Term, found: Iterable[Decided]) -> None:
    """Write it down."""
    term.keep(NAME, {"at": time.time(), "kinds": [asdict(one) for one in found]})


def read(store: Store) -> list[Decided]:
    """Return what was decided last; nothing where no coordinator has said anything lately."""
    text = store.command(keys.memory(), "HGET", keys.memory(), NAME)
    said = {} if text is None else json.loads(text)
    if time.time() - said.get("at", 0.0) > STALE:
        return []
    return [Decided(**one) for one in said["kinds"]]
