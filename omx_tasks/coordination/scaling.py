"""The duty that keeps as many agents as are needed: it looks at queues and agents, and asks for more or fewer.

What is decided, and how, is in `agents.scaling.autoscale`; which nursery gets or gives an agent, in
`agents.scaling.spread`. Without a leader nothing changes: nurseries keep what they were asked for last. Each change is
told as ``agent.scaled``, and what was decided last is written down for all to see (`decided`): whoever starts agents by
other means scales by that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from omx_tasks.agents import templates
from omx_tasks.agents.registry import agents
from omx_tasks.agents.scaling.autoscale import Decision, Past, Seen, decide
from omx_tasks.agents.scaling.kinds import Kind, kinds_of
from omx_tasks.agents.scaling.nurseries import asked, nurseries, want
from omx_tasks.agents.scaling.spread import Free, free_of, room, spread
from omx_tasks.agents.templates import Warm
from omx_tasks.coordination import decided
from omx_tasks.coordination.decided import Decided
from omx_tasks.coordination.demand import EVERY, Demand, Expect, Load
from omx_tasks.coordination.leader import Term
from omx_tasks.events.bus import Draft
from omx_tasks.events.now import publish_now
from omx_tasks.settings import Settings
from omx_tasks.store.client import Store

#: Seconds after which what was decided is written down anew.
WRITE = 5.0
#: Seconds after which an agent is taken to be warm, while nobody knows.
COLD = 3.0
#: The bounds of agents in no nursery and of no template.
UNBOUND = Warm(min=1, max=64, idle=600.0)


class ScalingDuty:
    """The duty. ``expect`` knows what comes."""

    def __init__(self, given: Settings, expect: Expect) -> None:
        self._given = given
        self._demand = Demand(expect)
        self._pasts: dict[str, Past] = {}
        self._changes: dict[str, tuple[float, str]] = {}
        self._written = 0.0
        self._token = 0

    def __call__(self, term: Term) -> str | None:
        """Look at all agents and queues once, and ask for what is needed."""
        store = term.store
        if (
            term.token != self._token
        ):  # what was seen in an earlier term says nothing of the time between
            self._token, self._pasts = term.token, {}
        found = nurseries(store)
        kinds = kinds_of(found, agents(store))
        if not kinds:
            return None
        said = asked(store)
        now = {one.name: _within(said.get(one.name, one.wanted), one.min, one.max) for one in found}
        loads = self._demand.look(store, kinds, round(max(map(_cold, kinds)) / EVERY))
        free = free_of(found, now)
        told, drafts = [], []
        for kind in kinds:
            seen = self._seen(kind, loads[kind.name], now, free)
            decision, self._pasts[kind.name] = decide(seen, self._pasts.get(kind.name))
            if kind.nurseries and decision.wanted != seen.wanted:
                self._ask(store, kind, decision, now, free)
                drafts.append(_draft(kind, seen, decision))
            told.append(self._decided(kind, seen, decision))
        self._pasts = {kind.name: self._pasts[kind.name] for kind in kinds}
        if drafts:
            publish_now(store, self._given, drafts)
        if drafts or time.monotonic() - self._written > WRITE:
            decided.write(term, told)
            self._written = time.monotonic()
        return "; ".join(map(_spelled, drafts)) or None

    def _seen(self, kind: Kind, load: Load, now: Mapping[str, int], free: Free) -> Seen:
        bounds = self._bounds(kind)
        return Seen(
            at=time.monotonic(),
            wanted=sum(now[one.name] for one in kind.nurseries) + kind.outside,
            warm=len(kind.agents),
            slots=kind.slots,
            busy=sum(one.busy for one in kind.agents),
            waiting=tuple(load.waiting),
            oldest=tuple(load.oldest),
            arriving=load.arriving,
            seconds=load.seconds,
            cold=_cold(kind),
            least=bounds.min,
            most=bounds.max,
            room=room(kind.nurseries, now, free) + kind.outside if kind.nurseries else bounds.max,
            idle=bounds.idle,
            target=self._given.scale_wait,
        )

    def _bounds(self, kind: Kind) -> Warm:
        """Return the bounds of its nurseries and what is outside of them; else those of its template."""
        if kind.nurseries:
            least = sum(one.min for one in kind.nurseries) + kind.outside
            most = sum(one.max for one in kind.nurseries) + kind.outside
            idle = max(one.idle for one in kind.nurseries)
            return Warm.model_construct(min=least, max=most, idle=idle)
        known = templates.load(self._given.templates)
        return known[kind.template].warm if kind.template in known else UNBOUND

    def _ask(
        self, store: Store, kind: Kind, decision: Decision, now: Mapping[str, int], free: Free
    ) -> None:
        """Ask the nurseries of a kind for what was decided."""
        shares = spread(kind.nurseries, now, decision.wanted - kind.outside, free)
        for name, count in shares.items():
            if count != now[name]:
                want(store, name, count)
        self._changes[kind.name] = (time.time(), decision.reason)

    def _decided(self, kind: Kind, seen: Seen, decision: Decision) -> Decided:
        changed, reason = self._changes.get(kind.name, (None, decision.reason))
        return Decided(
            template=kind.template,
            servers=sorted(kind.servers),
            wanted=decision.wanted,
            running=seen.warm,
            least=seen.least,
            most=seen.most,
            wait=None if decision.wait == float("inf") else round(decision.wait, 3),
            reason=reason,
            managed=bool(kind.nurseries),
            changed=changed,
        )


def _cold(kind: Kind) -> float:
    return max((one.cold for one in kind.nurseries), default=0.0) or COLD


def _within(number: int, least: int, most: int) -> int:
    return min(max(number, least), most)


def _draft(kind: Kind, seen: Seen, decision: Decision) -> Draft:
    said = {
        "template": kind.template,
        "agents": decision.wanted,
        "former": seen.wanted,
        "reason": decision.reason,
    }
    return Draft("agent.scaled", said, key=kind.template)


def _spelled(draft: Draft) -> str:
    said = draft.data or {}
    return f"{said['template']} {said['former']} → {said['agents']}: {said['reason']}"
