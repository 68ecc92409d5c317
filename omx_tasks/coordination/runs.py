"""The duties about runs: what got lost is repaired, and what ended without anybody who told of it is told.

::

    open ──over──► its end is looked after, for `SETTLED` seconds at least ──► left alone
                     │ cancelled: what a dead agent had begun ends, too
                     └ an agent was lost meanwhile: what it did not tell is told

An agent that is killed between storing an outcome and sending its events does not tell of it. Which those are is seen
by comparing a run's records with the logs of events, where an agent was lost that may have had part in it. What is told
here was possibly told before, by somebody who was slow: at least once, not exactly once. And never, where the log does
not go back so far, or where an agent ended in order and could not send all (its own log says so).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from omx_tasks.agents.registry import SILENT
from omx_tasks.coordination.agents import lost_agents
from omx_tasks.coordination.leader import Term
from omx_tasks.coordination.told import Told, told_of
from omx_tasks.events.bus import Draft
from omx_tasks.events.now import publish_once
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins
from omx_tasks.runs.advance import plans
from omx_tasks.runs.cancel import settle_rest
from omx_tasks.runs.listing import forget
from omx_tasks.runs.reconcile import reconcile
from omx_tasks.settings import Settings
from omx_tasks.settings import Told as Wanted
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds after which it is known whether an agent that had part in a run was lost, and its buffer was sent if not.
SETTLED = SILENT + 5.0
#: Runs whose ends are looked at together.
PAGE = 100


class ReconcileDuty:
    """Looks after the open runs: lost messages, dead ones, turns left behind, runs whose time is over."""

    def __init__(self, given: Settings) -> None:
        self._given = given
        self._term: Term | None = None

    def __call__(self, term: Term) -> str | None:
        """Look at every open run once."""
        if term is not self._term:
            self._term, self._plans = term, plans(term.store)
        found = reconcile(
            term.store, self._plans, age=self._given.overdue, tell=partial(self._tell, term)
        )
        counts = {
            "operations looked after": found.published,
            "given up": found.given_up,
            "turns freed": found.freed,
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or None

    def _tell(self, term: Term, type_: str, data: dict[str, Any], name: str) -> None:
        publish_once(term.store, self._given, {name: Draft(type_, data, key=data["run"])})


def forget_runs(term: Term) -> str | None:
    """Take runs out of the list that cannot be looked at any more."""
    count = forget(term.store)
    return f"{count} runs forgotten" if count else None


class EndingsDuty:
    """Looks after the ends of runs. ``settled``: seconds after which a run is looked at."""

    def __init__(self, given: Settings, settled: float = SETTLED) -> None:
        self._given, self._settled = given, settled

    def __call__(self, term: Term) -> str | None:
        """Look at what has been over for long enough."""
        store, ended = term.store, keys.ended_runs()
        limit = f"{(time.time() - self._settled) * 1000:.0f}"
        names = store.command(ended, "ZRANGEBYSCORE", ended, "-inf", limit, "LIMIT", 0, PAGE)
        found = [_read(store, name.decode()) for name in names]
        told, kept = 0, set()
        for one in found:
            if one.state == "cancelled":
                left, held = settle_rest(store, one.run)
                told += self._tell(store, dict(_unknown(one, name) for name in left))
                if held:
                    kept.add(one.run)
        told += self._tell_rest(term, [one for one in found if one.run not in kept])
        done = [one.run for one in found if one.run not in kept]
        if done:
            store.command(ended, "ZREM", ended, *done)
        for run_id in kept:  # later, and not before others
            store.command(ended, "ZADD", ended, "XX", f"{time.time() * 1000:.0f}", run_id)
        return f"{told} events told that nobody had told" if told else None

    def _tell_rest(self, term: Term, found: list[_Ended]) -> int:
        """Tell what an agent did not that was lost meanwhile, or whoever cancelled a run."""
        lost = lost_agents(term)
        doubtful = [
            one
            for one in found
            if one.state == "cancelled"
            or (one.is_over and any(heard + SILENT >= one.created for heard in lost.values()))
        ]
        if not doubtful:
            return 0
        since = min(one.created for one in doubtful)
        told = told_of(term.store, self._given, [one.run for one in doubtful], since)
        drafts: dict[str, Draft] = {}
        for one in doubtful:
            if not told.run(f"run.{one.state}", one.run, one.finished):
                said = {"run": one.run, "name": one.name}
                drafts[one.told_as] = Draft(f"run.{one.state}", said, key=one.run)
            drafts.update(self._operations(term.store, one, lost, told))
        return self._tell(term.store, drafts)

    def _operations(
        self, store: Store, one: _Ended, lost: dict[str, float], told: Told
    ) -> Iterator[tuple[str, Draft]]:
        """Yield what these agents have done of a run and not told."""
        if self._given.events_operations is Wanted.NONE:
            return
        records, states = keys.records(one.run), keys.states(one.run)
        document = store.run(joins.read_plan(one.run))
        texts, ends = store.commands(
            [(records, ("HGETALL", records)), (states, ("HGETALL", states))]
        )
        if document is None:
            return
        plan = StoredPlan.parse(document)
        for operation, text in texts.items():
            record = json.loads(text or b"{}")
            state = ends.get(operation, b"").decode()
            if record.get("agent") not in lost or state not in joins.OVER:
                continue
            if state == "succeeded" and self._given.events_operations is Wanted.FAILED:
                continue
            name = operation.decode()
            outside = f"{name}:{one.generation}" if one.generation else name
            type_, at = f"operation.{state}", record["finished"] or one.finished
            if not told.operation(type_, one.run, outside, at):
                said = {"run": one.run, "operation": outside, "server": plan.step(name).server}
                about = {key: value for key, value in record.items() if key != "cold"}
                yield f"{type_}:{one.run}:{outside}", Draft(type_, said | about, key=one.run)

    def _tell(self, store: Store, drafts: dict[str, Draft]) -> int:
        return publish_once(store, self._given, drafts)


class _Ended(NamedTuple):
    """A run that was over; times are Unix seconds of the cluster's clock."""

    run: str
    name: str
    state: str
    created: float
    finished: float
    generation: str

    @property
    def is_over(self) -> bool:
        """Whether it still is, and there."""
        return self.state in ("succeeded", "failed", "cancelled")

    @property
    def told_as(self) -> str:
        """The name under which its end is told once."""
        return f"run.{self.state}:{self.run}:{self.finished:.3f}"


def _read(store: Store, run_id: str) -> _Ended:
    key = keys.run(run_id)
    fields = ("name", "state", "created", "finished", "generation")
    values = store.command(key, "HMGET", key, *fields)
    name, state, created, finished, generation = ((value or b"").decode() for value in values)
    return _Ended(run_id, name, state, float(created or 0), float(finished or 0), generation)


def _unknown(one: _Ended, operation: str) -> tuple[str, Draft]:
    message = "the run was cancelled and the agent that had begun it is gone: it may have been done"
    said = {"run": one.run, "operation": operation, "error": {"kind": "lost", "message": message}}
    name = f"operation.unknown:{one.run}:{operation}"
    return name, Draft("operation.unknown", said, key=one.run)
