"""Tells how the cluster changes: nodes that fail and come back, failovers, shards without a replica.

It looks again and again and compares with what it saw before; so what happened while no master could be reached is told
afterwards. What was seen is written down after it was told: where it was not, the next leader tells it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omx_tasks.coordination.leader import Term
from omx_tasks.events.bus import Draft
from omx_tasks.events.now import publish_now
from omx_tasks.settings import Settings
from omx_tasks.store.members import Member, members

NAME = "cluster"

#: What was seen: each node by its id, and which shards lack something.
Seen = Mapping[str, Any]


class ClusterDuty:
    """The duty `NAME`."""

    def __init__(self, given: Settings) -> None:
        self._given = given

    def __call__(self, term: Term) -> str | None:
        """Look once, and tell what has changed."""
        now = seen(members(term.store))
        before = term.recall(NAME)
        drafts = list(changes(before, now))
        if drafts:
            publish_now(term.store, self._given, drafts)
        if now != before:
            term.keep(NAME, now)
        return ", ".join(
            f"{draft.type} {(draft.data or {}).get('node') or ''}".strip() for draft in drafts
        )


def seen(found: list[Member]) -> dict[str, Any]:
    """Return what is compared, and written down as JSON."""
    followed = {one.master for one in found if one.master and not one.failed}
    masters = [one for one in found if one.slots]
    return {
        "nodes": {
            one.id: {
                "node": one.node,
                "master": one.master,
                "slots": one.slots,
                "failed": one.failed,
            }
            for one in found
        },
        "alone": sorted(one.node for one in masters if not one.failed and one.id not in followed),
        "lost": sorted(one.node for one in masters if one.failed),
    }


def changes(before: Seen | None, now: Seen) -> Iterator[Draft]:
    """Yield the events that tell of the differences; at the first look only what is wrong."""
    old = before or {"nodes": {}, "alone": [], "lost": []}
    for node_id, one in now["nodes"].items():
        known = old["nodes"].get(node_id, {**one, "failed": False})
        if one["failed"] != known["failed"]:
            what = "node_down" if one["failed"] else "node_up"
            yield Draft(f"cluster.{what}", {"node": one["node"]}, key=NAME)
    for node_id, one in now["nodes"].items():
        known = old["nodes"].get(node_id, one)
        if one["slots"] and known["master"] is not None and one["master"] is None:
            former = old["nodes"].get(known["master"], {"node": None})["node"]
            yield Draft("cluster.failover", {"node": one["node"], "former": former}, key=NAME)
    lacks, lacked = (bool(one["alone"] or one["lost"]) for one in (now, old))
    if lacks and (now["alone"], now["lost"]) != (old["alone"], old["lost"]):
        said = {"alone": now["alone"], "lost": now["lost"]}
        yield Draft("cluster.degraded", said, key=NAME)
    if lacked and not lacks:
        yield Draft("cluster.healed", {}, key=NAME)
