"""A run as it can be seen: its state and, per operation, what is known; in the shape that ``--json`` prints."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from omx_tasks.errors import NotFoundError
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins, outputs
from omx_tasks.results.joins import OVER
from omx_tasks.store.client import Store


@dataclass(frozen=True)
class OperationView:
    """One operation, or one item of a foreach. Times are Unix seconds of the MCP call itself.

    ``cold`` is the seconds for which the call waited until its server's session was open.
    """

    state: str
    attempts: int = 0
    agent: str | None = None
    started: float | None = None
    finished: float | None = None
    text: str | None = None
    structured: Any = None
    error: dict[str, str] | None = None
    cold: float = 0.0

    @property
    def seconds(self) -> float | None:
        """How long the call took, or None when there was none."""
        if self.started is None or self.finished is None:
            return None
        return self.finished - self.started

    def as_json(self) -> dict[str, Any]:
        """Return the object that the command line prints; where the time went is for reports."""
        return {name: value for name, value in asdict(self).items() if name != "cold"}


@dataclass(frozen=True)
class RunView:
    """A run at one moment. An operation with a foreach is a list, once its items are known.

    ``seconds`` leaves out the time between an end and a resumption. ``shared`` counts the operations that were answered
    by an equal call of another one. ``error`` says why the run was cancelled, where nobody asked for it.
    """

    run: str
    name: str
    state: str
    created: float
    seconds: float
    operations: dict[str, OperationView | list[OperationView]] = field(default_factory=dict)
    shared: int = 0
    error: dict[str, str] | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the run is over and everything that had to succeed did."""
        return self.state == "succeeded"

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.state != "running"

    def as_json(self) -> dict[str, Any]:
        """Return the object that the command line prints."""
        operations = {
            name: [one.as_json() for one in view] if isinstance(view, list) else view.as_json()
            for name, view in self.operations.items()
        }
        about = {"run": self.run, "state": self.state, "seconds": self.seconds}
        why = {"error": self.error} if self.error else {}
        return {**about, **why, "operations": operations}


def read(store: Store, run_id: str) -> RunView:
    """Read a run; raises `NotFoundError` where there is none of that id."""
    answer = store.run(joins.read_run(run_id))
    if not answer:
        raise NotFoundError(
            f"there is no run {run_id!r} (any more): `omx runs` lists those there are"
        )
    run, document, *rest = answer
    about = _mapping(run)
    plan = StoredPlan.parse(document)
    reader = _Reader(plan, about["state"].decode(), *(_mapping(flat) for flat in rest))
    created = float(about["created"])
    finished = float(about["finished"]) if about["finished"] else time.time()
    return RunView(
        run_id,
        about["name"].decode(),
        about["state"].decode(),
        created,
        max(0.0, finished - created - float(about.get("idle", 0))),
        {name: reader.view(name) for name in plan.steps},
        int(about.get("shared", 0)),
        json.loads(about.get("error") or "null"),
    )


@dataclass(frozen=True)
class _Reader:
    plan: StoredPlan
    run_state: str
    states: Mapping[str, bytes]
    records: Mapping[str, bytes]
    outputs: Mapping[str, bytes]
    items: Mapping[str, bytes]

    def view(self, name: str) -> OperationView | list[OperationView]:
        count = self.items.get(name)
        if count is not None and self.plan.steps[name].foreach is not None:
            return [self._one(f"{name}[{index}]") for index in range(int(count))]
        return self._one(name)

    def _one(self, name: str) -> OperationView:
        record = json.loads(self.records[name]) if name in self.records else {}
        output = outputs.parsed(self.outputs[name]) if name in self.outputs else {}
        return OperationView(
            self._state(name),
            **record,
            text=output.get("text"),
            structured=output.get("structured"),
        )

    def _state(self, name: str) -> str:
        state = self.states.get(name, b"waiting").decode()
        if self.run_state == "cancelled" and state not in OVER and state != "running":
            return "cancelled"
        return state


def _mapping(flat: list[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[0::2], flat[1::2], strict=True)}
