"""Says how many agents of one kind there should be, from what waits, works and comes. No clock, no store: all is given.

::

    waits now + comes - gets done, until an agent started now is warm ──► what waits then
    what waits then x seconds of an operation / slots ──────────────────► for how long the next one would wait
      ├─ longer than the target of its priority ──► at once as many agents as keep the target (most, memory)
      ├─ shorter, but the oldest has waited for longer ──► no fewer; all slots taken since long ──► one more
      └─ shorter, and fewer agents have been enough for ``idle`` seconds ──► one fewer, which drains; then the next

More come at once and fewer late, so that what comes and goes does not start and end agents all the time: between a rise
and the fall after it are ``idle`` seconds at least. How many have been needed lately is the caller's to keep (`Past`);
who has seen nothing yet takes no agent away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from omx_tasks.priorities import Priority

#: How long operations of a priority may wait, in targets.
PATIENCE = {Priority.P0: 0.5, Priority.P1: 1.0, Priority.P2: 1.0, Priority.P3: 10.0}
#: The part of the slots that may be taken all the time: what comes does not come evenly.
LOAD = 0.8
#: The part of ``idle`` that is between one agent fewer and the next one.
STEP = 0.25


@dataclass(frozen=True)
class Seen:
    """One kind of agents at a moment: ``at`` is seconds of any clock, the same one each time.

    Of the ``wanted`` agents so many are ``warm``; each has ``slots``, and ``busy`` are taken in all. By priority, the
    messages that are ``waiting`` and the seconds that the ``oldest`` has waited. ``arriving`` operations are expected a
    second, each takes ``seconds``. An agent is warm after ``cold`` seconds. There are to be from ``least`` to ``most``;
    there is memory for ``room``. ``target``: seconds that an operation may wait.
    """

    at: float
    wanted: int
    warm: int
    slots: int
    busy: float
    waiting: tuple[float, ...]
    oldest: tuple[float, ...]
    arriving: float
    seconds: float
    cold: float
    least: int
    most: int
    room: int
    idle: float
    target: float

    @property
    def all_slots(self) -> int:
        """The slots of the warm agents."""
        return self.warm * self.slots


class Need(NamedTuple):
    """How many agents are needed, for how long an operation would wait without, and why, in words."""

    agents: int
    wait: float
    reason: str


class Decision(NamedTuple):
    """How many agents there are to be; ``wait`` is what the next operation is expected to wait, in seconds."""

    wanted: int
    wait: float
    reason: str


@dataclass(frozen=True)
class Past:
    """What was needed ``since`` a moment, and when the number was ``changed`` last.

    ``peaks`` hold when so many were needed: of the last ``idle`` seconds, and none that a later one is as high as.
    """

    since: float
    changed: float
    peaks: tuple[tuple[float, int], ...] = ()

    def then(self, at: float, agents: int, idle: float) -> Past:
        """Return the past of the next moment."""
        kept = [one for one in self.peaks if one[0] >= at - idle and one[1] > agents]
        return Past(self.since, self.changed, (*kept, (at, agents)))

    @property
    def peak(self) -> int:
        """The most that were needed."""
        return self.peaks[0][1]


def decide(seen: Seen, past: Past | None) -> tuple[Decision, Past]:
    """Return how many agents there are to be from now on, and the past to be given next time."""
    need = needed(seen)
    highest = min(seen.most, max(seen.least, seen.room, seen.wanted))
    agents = min(max(need.agents, seen.least), highest)
    former = past or Past(seen.at, seen.at)
    now = former.then(seen.at, agents, seen.idle)
    wanted, reason = seen.wanted, need.reason
    if agents > seen.wanted:
        wanted, reason = agents, _bounded(seen, need, agents)
    elif seen.wanted > seen.most:
        wanted, reason = seen.most, f"{seen.most} at most"
    elif now.peak < seen.wanted and _may_fall(seen, now):
        wanted = seen.wanted - 1
        reason = f"{now.peak} would have been enough for {seen.idle:g} s"
    changed = seen.at if wanted != seen.wanted else now.changed
    return Decision(wanted, need.wait, reason), Past(now.since, changed, now.peaks)


def _may_fall(seen: Seen, past: Past) -> bool:
    """Whether it was looked on for long enough, and what was one too many before has drained."""
    known = seen.at - past.since >= seen.idle
    return known and seen.at - past.changed >= STEP * seen.idle and seen.warm <= seen.wanted


def _bounded(seen: Seen, need: Need, agents: int) -> str:
    if agents >= need.agents:
        return need.reason if need.agents > seen.wanted else f"{seen.least} at least"
    bound = f"{seen.most} at most" if agents == seen.most else f"memory for {agents}"
    return f"{need.reason}; {need.agents} would be needed: {bound}"


def needed(seen: Seen) -> Need:
    """Return how many agents what is seen calls for, whatever the bounds."""
    present = [one for one in Priority if seen.waiting[one]] or [Priority.P2]
    found = [_of_priority(seen, priority) for priority in present]
    agents, wait, reason = max(found, key=lambda need: need[:2])
    if agents > seen.wanted:
        return Need(agents, wait, reason)
    late = [one for one in Priority if seen.oldest[one] > seen.target * PATIENCE[one]]
    if not late:
        enough = min(math.ceil(round(_steady_slots(seen, 1.0) / seen.slots, 6)), seen.wanted)
        return Need(max(agents, enough), wait, f"the next one waits {wait:.1f} s")
    oldest = seen.oldest[late[0]]
    said = f"{late[0].name} has waited {oldest:.1f} s"
    longer = oldest > seen.target * PATIENCE[late[0]] + seen.cold
    full = seen.busy >= seen.all_slots and seen.warm >= seen.wanted
    return Need(seen.wanted + (longer and full), max(wait, oldest), said)


def _of_priority(seen: Seen, priority: Priority) -> Need:
    """Return what operations of a priority need: they wait for what is as urgent or more."""
    before = list(accumulate(seen.waiting))[priority]
    share = _share(seen, before, priority)
    target = seen.target * PATIENCE[priority]
    done = seen.all_slots / seen.seconds
    ahead = max(0.0, before + (seen.arriving * share - done) * seen.cold)
    if not seen.warm:
        ahead = before + seen.arriving * share * seen.cold
    wait = _wait(seen, ahead)
    if wait <= target:
        return Need(0, wait, "")
    # It is to be worked off within the target, or as long as agents take to be warm; no operation takes two slots.
    slots = min(ahead, ahead * seen.seconds / max(target, seen.cold))
    agents = max(1, math.ceil((slots + _steady_slots(seen, share)) / seen.slots))
    return Need(agents, wait, _told(seen, priority, wait, target))


def _share(seen: Seen, before: float, priority: Priority) -> float:
    """Return which part of what comes is as urgent as this, or more: as of what waits; of nothing, the usual one."""
    total = sum(seen.waiting)
    return before / total if total else float(priority >= Priority.P2)


def _wait(seen: Seen, ahead: float) -> float:
    if ahead < 1e-9:
        return 0.0
    return ahead * seen.seconds / seen.all_slots if seen.warm else math.inf


def _steady_slots(seen: Seen, share: float) -> float:
    """Return the slots for what comes, or, where more is under way than that, for as much as is."""
    return max(seen.arriving * share * seen.seconds, seen.busy) / LOAD


def _told(seen: Seen, priority: Priority, wait: float, target: float) -> str:
    waits = "for an agent" if math.isinf(wait) else f"{wait:.1f} s"
    return (
        f"{priority.name} would wait {waits} (target {target:g} s): {sum(seen.waiting):.0f} waiting, "
        f"{seen.arriving:.1f} a second expected"
    )
