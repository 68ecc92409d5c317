"""A plan in the form in which a run keeps it: plain JSON, read by agents without compiling anything again.

The document of a graph of ten thousand operations is parsed in tens of milliseconds, once per agent and run;
messages carry only the ids that find a step in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from omx_tasks.errors import GraphError
from omx_tasks.graph.limits import MAX_BYTES, too_large
from omx_tasks.graph.plan import Plan, Step

#: An operation as messages call it: ``each``, ``each[3]``, ``each[3]:1`` when its run was resumed once.
_NAME = re.compile(r"^(?P<parent>[^\[:]+)(?:\[(?P<index>\d+)\])?(?::\d+)?$")


@dataclass(frozen=True, slots=True)
class StoredStep:
    """What an agent must know of one operation. ``rank`` is milliseconds, ``timeout`` seconds.

    ``lasts`` is how many milliseconds it is expected to take, 0 where nothing is known of that.

    ``references`` are the operations whose values a call needs, ``listed`` those that the list of a foreach is made
    from: a call for one of its items does not need them. ``onward`` is the successor with the longest remaining path.
    """

    server: str
    kind: str
    target: str
    arguments: dict[str, Any]
    references: tuple[str, ...]
    listed: tuple[str, ...]
    capabilities: tuple[str, ...]
    priority: int
    rank: int
    timeout: float
    retries: int
    goes_on: bool
    foreach: str | None
    onward: str | None
    lasts: int = 0

    @classmethod
    def of(cls, step: Step, plan: Plan) -> StoredStep:
        """Return what is to be kept of a plan's step."""
        operation = step.operation
        ranks = {name: plan.steps[name].rank for name in step.successors}
        return cls(
            server=operation.server,
            kind=operation.kind,
            target=operation.target,
            arguments=dict(operation.arguments),
            references=_in_order(step, operation.referred_by_body),
            listed=_in_order(step, operation.referred_by_foreach),
            capabilities=step.capabilities,
            priority=int(operation.priority),
            rank=round(step.rank * 1000),
            timeout=operation.timeout,
            retries=operation.retries,
            goes_on=step.goes_on,
            foreach=operation.foreach,
            onward=max(ranks, key=ranks.__getitem__, default=None),
            lasts=0 if step.source == "default" else round(step.seconds * 1000),
        )

    def needed(self, operation: str) -> tuple[str, ...]:
        """Return the operations whose values are needed to begin one of this step: itself, or an item of it."""
        is_item = item_of(operation)[1] is not None
        return self.references if is_item or self.foreach is None else self.listed

    @property
    def shown(self) -> str:
        """What operators see of it beside its id."""
        return f"{{server: {self.server}, {self.kind}: {self.target}}}"

    def text(self) -> str:
        """Return all fields as JSON (`asdict` would copy every argument)."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


@dataclass(frozen=True)
class StoredPlan:
    """A run's plan: the inputs' values, and the steps by operation id.

    ``partitions`` is how many its queues have, for all its life: whoever publishes an operation of it again, whenever,
    finds the first message.
    """

    name: str
    inputs: dict[str, Any]
    steps: dict[str, StoredStep]
    partitions: int = 1

    @classmethod
    def of(cls, plan: Plan, inputs: dict[str, Any], partitions: int = 1) -> StoredPlan:
        """Return what is to be kept of a plan."""
        steps = {name: StoredStep.of(step, plan) for name, step in plan.steps.items()}
        return cls(plan.graph.name, inputs, steps, partitions)

    @classmethod
    def parse(cls, text: str | bytes) -> StoredPlan:
        """Read the document that `document` wrote."""
        data = json.loads(text)
        steps = {name: _step(fields) for name, fields in data["steps"].items()}
        return cls(data["name"], data["inputs"], steps, data["partitions"])

    def document(self) -> str:
        """Return the JSON text to keep, written step by step: whole, it would be in memory twice.

        Raises GraphError where it is too large.
        """
        fields = {"name": self.name, "inputs": self.inputs, "partitions": self.partitions}
        head = json.dumps(fields)[:-1]
        steps = (f"{json.dumps(name)}: {step.text()}" for name, step in self.steps.items())
        text = f'{head}, "steps": {{{", ".join(steps)}}}}}'
        what = f"graph {self.name!r} and its inputs have"
        if problem := too_large(what, len(text), MAX_BYTES):
            raise GraphError(f"{problem}; leave large values with the servers")
        return text

    @cached_property
    def servers(self) -> frozenset[str]:
        """The servers that the run needs."""
        return frozenset(step.server for step in self.steps.values())

    def step(self, operation: str) -> StoredStep:
        """Return the step of an operation or of a foreach's item (``each[3]``)."""
        return self.steps[item_of(operation)[0]]


def _in_order(step: Step, names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in step.references if name in names)


def _step(fields: dict[str, Any]) -> StoredStep:
    for name in ("references", "listed", "capabilities"):
        fields[name] = tuple(fields[name])
    return StoredStep(**fields)


def item_of(operation: str) -> tuple[str, int | None]:
    """Split ``each[3]`` into ``("each", 3)``; an operation that is no item has the index None."""
    match = _NAME.match(operation)
    if match is None:
        return operation, None
    return match["parent"], None if match["index"] is None else int(match["index"])


def of_generation(operation: str, name: str) -> str:
    """Return what an operation is called beside ``name`` of the same run: each resumption names all of them anew."""
    _, colon, generation = name.partition(":")
    return f"{operation}{colon}{generation}"
