"""A run driven by hand: every step of it is one call of a run script, as an agent would make it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from omx_tasks.graph.model import Operation
from omx_tasks.graph.plan import Plan
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins
from omx_tasks.results.joins import Beginning, Ending, Following, Outcome, Start
from omx_tasks.runs.submit import new_run_id
from omx_tasks.runs.view import RunView, read
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call

_tokens = itertools.count()


def operation(name: str, needs: Iterable[str] = (), **fields: Any) -> Operation:
    return Operation(id=name, server="s", tool="t", needs=list(needs), **fields)


@dataclass
class Driven:
    """One run; ``twice`` makes every call of a script two times, as a lost answer does."""

    store: Store
    plan: Plan
    inputs: dict[str, Any] = field(default_factory=dict)
    twice: bool = False
    id: str = field(default_factory=new_run_id)
    begun: Start | None = None

    def call(self, call: Call) -> Any:
        first = self.store.run(call)
        return self.store.run(call) if self.twice else first

    def submit(self, keep: float = 60, timeout: float | None = None) -> list[str]:
        stored = StoredPlan.of(self.plan, self.inputs)
        call = joins.submit(self.id, self.plan, stored, keep=keep, timeout=timeout)
        return names(self.call(call))

    def start(self, name: str, token: str | None = None) -> Start:
        references = StoredPlan.of(self.plan, {}).step(name).needed(name)
        token = token or f"token-{next(_tokens)}"
        (answer,) = self.call(joins.start(self.id, "agent", [Beginning(name, token, references)]))
        return joins.started(answer, references)

    def send(self, name: str, token: str, note: str = "{}") -> str:
        return str(self.call(joins.sent(self.id, name, token, note)).decode())

    def finish(
        self,
        name: str,
        state: str = "succeeded",
        following: Following | None = None,
        **value: Any,
    ) -> list[str]:
        """Return what became ready; ``begun`` is how the one that follows was begun."""
        error = None if state == "succeeded" else {"kind": "tool", "message": f"{name} {state}"}
        outcome = Outcome(state, 1, "agent", 1.0, 2.0, error, json.dumps(value) if value else "")
        goes_on = StoredPlan.of(self.plan, {}).step(name).goes_on
        (part,) = self.call(
            joins.finish(self.id, [Ending(name, outcome, goes_on, following)], "agent")
        )
        done = joins.finished(part, following)
        self.begun = done.begun
        return done.ready

    def do(self, name: str, state: str = "succeeded", **value: Any) -> list[str]:
        assert self.start(name).verdict == "go"
        return self.finish(name, state, **value)

    def expand(self, name: str, items: list[Any]) -> list[str]:
        parts = range(0, max(1, len(items)), joins.EXPANDED)
        return [ready for first in parts for ready in self.expand_part(name, items, first)]

    def expand_part(
        self, name: str, items: list[Any], first: int, most: int = joins.EXPANDED
    ) -> list[str]:
        return joins.made_ready(self.call(joins.expand(self.id, name, items, first, most)))[0]

    def cancel(self) -> str:
        state, *_ = names(self.call(joins.cancel(self.id)))
        return state

    def resume(
        self,
        unknown: str = "keep",
        token: str | None = None,
        again: Collection[str] = (),
        **choices: str,
    ) -> list[str]:
        stored = StoredPlan.of(self.plan, self.inputs)
        token = token or f"token-{next(_tokens)}"
        return names(self.call(joins.resume(self.id, stored, token, unknown, choices, again)))

    def view(self) -> RunView:
        return read(self.store, self.id)

    def states(self) -> dict[str, Any]:
        view = self.view()
        return {
            name: [one.state for one in seen] if isinstance(seen, list) else seen.state
            for name, seen in view.operations.items()
        }

    def stored(self) -> dict[str, Any]:
        """Return all that is stored of the run but for times and delivery tokens."""
        found: dict[str, Any] = {}
        for spell in (keys.waits, keys.states, keys.records, keys.outputs, keys.items):
            found[spell.__name__] = self._hash(spell(self.id))
        found["remaining"] = {
            name: value.split()[0] for name, value in self._hash(keys.remaining(self.id)).items()
        }
        run = self._hash(keys.run(self.id))
        found["run"] = {
            name: value for name, value in run.items() if name not in ("created", "finished")
        }
        outbox = keys.outbox(self.id)
        found["outbox"] = sorted(names(self.store.command(outbox, "ZRANGE", outbox, 0, -1)))
        stream = keys.stream(self.id)
        found["stream"] = [
            fields for _, fields in self.store.command(stream, "XRANGE", stream, "-", "+")
        ]
        return found

    def _hash(self, key: str) -> dict[str, str]:
        answer = self.store.command(key, "HGETALL", key)
        return {name.decode(): value.decode() for name, value in answer.items()}


def names(answer: list[bytes]) -> list[str]:
    return [name.decode() for name in answer]


Drive = Callable[..., Driven]
