"""Says how the agents of one kind are spread over nurseries, and so over hosts: by the memory that is free there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from omx_tasks.agents.scaling.nurseries import NurseryRecord

#: Bytes that are free, by host.
Free = dict[str, int]


def free_of(nurseries: Sequence[NurseryRecord], asked: Mapping[str, int]) -> Free:
    """Return what is free on each host, once the agents are there that were asked for."""
    free = {one.host: one.free for one in nurseries}
    for one in nurseries:
        free[one.host] -= max(0, asked[one.name] - one.running) * one.memory
    return free


def room(nurseries: Sequence[NurseryRecord], asked: Mapping[str, int], free: Free) -> int:
    """Return how many agents of the kind there can be in all."""
    most = sum(one.max for one in nurseries)
    return sum(spread(nurseries, asked, most, dict(free)).values())


def spread(
    nurseries: Sequence[NurseryRecord], asked: Mapping[str, int], agents: int, free: Free
) -> dict[str, int]:
    """Return how many each nursery is to have, from what each was ``asked`` for: ``agents`` in all, as far as can be.

    One more goes where most memory is free, one fewer from where least is; ``free`` is brought up to date.
    """
    wanted = {one.name: asked[one.name] for one in nurseries}
    while more := agents - sum(wanted.values()):
        step = 1 if more > 0 else -1
        able = [one for one in nurseries if _is_able(one, wanted[one.name], step, free)]
        if not able:
            break
        # Of equal hosts the one with fewer agents gets one more, and the one with more of them gives one.
        chosen = min(able, key=lambda o: (-step * free[o.host], step * wanted[o.name], o.name))
        wanted[chosen.name] += step
        free[chosen.host] -= step * chosen.memory
    return wanted


def _is_able(nursery: NurseryRecord, wanted: int, step: int, free: Free) -> bool:
    if step < 0:
        return wanted > nursery.min
    fits = free[nursery.host] >= nursery.memory
    return wanted < nursery.min or (fits and wanted < nursery.max)
