"""A foreach gets its items: each of them is an operation from then on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from omx_tasks.agents.run_state import RunState
from omx_tasks.agents.telling import Telling
from omx_tasks.agents.work import Work
from omx_tasks.errors import OperationError
from omx_tasks.graph import references
from omx_tasks.results import joins

#: Items of one foreach.
MOST_ITEMS = 100_000


async def expand(
    work: Work, foreach: str, scope: Mapping[str, Any], state: RunState, tell: Telling
) -> None:
    """Store the items that an expression gives, and publish them; raises `OperationError` for what is no list."""
    plan, _ = work.known()
    items = _items(foreach, scope)
    publications: list[Awaitable[Any]] = []
    for first in range(0, max(1, len(items)), joins.EXPANDED):
        answer = await state.ask(joins.expand(work.run_id, work.operation, items, first))
        ready, over = joins.made_ready(answer)
        if over is not None:
            tell.run_over(work.run_id, plan, over)
        publications.append(state.published(work.run_id, plan, ready))
    await asyncio.gather(*publications)


def _items(foreach: str, scope: Mapping[str, Any]) -> list[Any]:
    items = references.evaluate(foreach, scope)
    if not isinstance(items, list):
        kind = type(items).__name__
        raise OperationError("foreach", f"{foreach} is no list but {kind}: {items!r:.100}")
    if len(items) > MOST_ITEMS:
        many = f"{foreach} has {len(items):,} items, and a foreach takes at most {MOST_ITEMS:,}"
        raise OperationError("foreach", many)
    return items
