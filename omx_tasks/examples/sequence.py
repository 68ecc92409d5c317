"""The same calls as a run's, one after the other: what a client without a scheduler would do.

Made from a finished run, so that every argument is the value that it had there; each call waits for the one before.
"""

from __future__ import annotations

from typing import Any

from omx_tasks.graph import references
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import Plan
from omx_tasks.runs.view import OperationView, RunView


def in_sequence(plan: Plan, view: RunView, inputs: dict[str, Any]) -> Graph:
    """Return a chain of the calls that ``view`` made; a foreach gives one operation an item."""
    values = {name: _value(found) for name, found in view.operations.items()}
    scope = {"inputs": inputs, **values}
    chain: list[Operation] = []
    for name, step in plan.steps.items():
        for suffix, local in _instances(step.operation, scope):
            needs = (chain[-1].id,) if chain else ()
            chain.append(_literal(step.operation, f"{name}{suffix}", needs, {**scope, **local}))
    return Graph(name=f"{plan.graph.name}, one after the other", operations=tuple(chain))


def _instances(operation: Operation, scope: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    if operation.foreach is None:
        return [("", {})]
    items = references.evaluate(operation.foreach, scope)
    return [(f"_{index}", {"item": item, "index": index}) for index, item in enumerate(items)]


def _literal(
    operation: Operation, name: str, needs: tuple[str, ...], scope: dict[str, Any]
) -> Operation:
    data: dict[str, Any] = {
        "id": name,
        "server": operation.server,
        operation.kind: references.resolve(operation.target, scope),
        "needs": needs,
    }
    arguments = references.resolve(operation.arguments, scope)
    if arguments:
        data["arguments"] = _escaped(arguments)
    return Operation(**data)


def _escaped(value: Any) -> Any:
    """Return a value in which ``${`` stands for itself."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value


def _value(found: OperationView | list[OperationView]) -> Any:
    if isinstance(found, list):
        return [_value(one) for one in found]
    return {"text": found.text, "structured": found.structured, "content": [], "error": found.error}
