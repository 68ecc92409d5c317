"""Says of agents that are unwell what is known of them: below the list of those that are up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.text import Text

from omx_tasks.agents.registry import AgentRecord
from omx_tasks.agents.scaling.nurseries import NurseryRecord

_STYLES = {"crash loop": "bold red", "waiting": "red", "draining": "yellow"}
_COUNTED = (
    ("hung", "hung and ended"),
    ("recycled", "recycled"),
    ("quarantined", "quarantined"),
)


def unwell(kept: Iterable[NurseryRecord], agents: Iterable[AgentRecord]) -> list[Text]:
    """Return a line of each agent that is not as it should be, and what each nursery has replaced."""
    known, heard = list(kept), list(agents)
    told = {name for nursery in known for name, one in nursery.agents.items() if one["reason"]}
    names = {one.name for one in heard}
    return [*_of_nurseries(known, names), *_of_agents(heard, told)]


def _of_nurseries(known: Iterable[NurseryRecord], heard: set[str]) -> Iterator[Text]:
    for nursery in known:
        for name, one in nursery.agents.items():
            if one["state"] == "running" and name not in heard:
                yield Text.assemble(f"{name} ", ("starts", "cyan"))
            if one["state"] in _STYLES:
                deaths = f", {one['deaths']} deaths" if one["deaths"] > 1 else ""
                reason = f": {one['reason']}" if one["reason"] else ""
                yield Text.assemble(
                    f"{name} ", (one["state"], _STYLES[one["state"]]), f"{reason}{deaths}"
                )
        counts = [
            f"{getattr(nursery, key)} {said}" for key, said in _COUNTED if getattr(nursery, key)
        ]
        if counts:
            yield Text(f"{nursery.name} has replaced agents: {', '.join(counts)}")


def _of_agents(agents: Iterable[AgentRecord], told: set[str]) -> Iterator[Text]:
    for one in agents:
        if one.retiring and one.name not in told:
            yield Text.assemble(f"{one.name} ", ("retires", "yellow"), f": {one.retiring}")
