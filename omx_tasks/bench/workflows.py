"""Recorded workflows as graphs of sleeping calls, in the order that is measured and in two that it is measured against.

A file holds one workflow: ``{"name", "source", "tasks": [{"id", "name", "seconds", "needs": [id, …]}, …]}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omx_tasks.bench.sleeper import NAME, TOOL
from omx_tasks.errors import ConfigurationError, GraphError
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.graph.schedule import simulate


@dataclass(frozen=True)
class Workflow:
    """A recorded workflow: the seconds of each task, and what it waits for."""

    name: str
    seconds: Mapping[str, float]
    needs: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, path: Path) -> Workflow:
        """Read a file; raises `ConfigurationError` where it holds no workflow."""
        try:
            data = json.loads(path.read_text("utf-8"))
            tasks = data["tasks"]
            return cls(
                str(data["name"]),
                {task["id"]: float(task["seconds"]) for task in tasks},
                {task["id"]: tuple(task["needs"]) for task in tasks},
            )
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise ConfigurationError(f"{path} holds no recorded workflow: {error!r}") from error

    def scaled(self, ideal: float, slots: int) -> Workflow:
        """Return it with all seconds scaled such that its ideal schedule takes ``ideal`` seconds."""
        factor = ideal / self.ideal(slots)
        scaled = {name: round(seconds * factor, 6) for name, seconds in self.seconds.items()}
        return Workflow(self.name, scaled, self.needs)

    def ideal(self, slots: int) -> float:
        """Return the seconds of its ideal schedule."""
        return simulate(compile_plan(self.graph()), self.seconds, slots)

    def graph(self) -> Graph:
        """Return it as it is: what is ready goes in the order of the longest path behind it."""
        return self._graph(self.needs, self.seconds)

    def first_in(self) -> Graph:
        """Return it with equal ranks: what is ready goes in the order in which it became so."""
        return self._graph(self.needs, dict.fromkeys(self.seconds, 0.0))

    def by_level(self) -> Graph:
        """Return it with a barrier after each level: a task waits for all of the level before."""
        levels = self.levels()
        before = dict(zip(levels[1:], levels, strict=False))
        needs = {name: before.get(level, ()) for level in levels for name in level}
        return self._graph({name: needs[name] for name in self.needs}, self.seconds)

    def levels(self) -> list[tuple[str, ...]]:
        """Return the tasks by the number of tasks on the longest way to them."""
        steps = compile_plan(self.graph()).steps
        level: dict[str, int] = {}
        for name, step in steps.items():
            level[name] = max((level[need] + 1 for need in step.needs), default=0)
        return [
            tuple(name for name in self.needs if level[name] == number)
            for number in range(max(level.values(), default=-1) + 1)
        ]

    def _graph(self, needs: Mapping[str, Sequence[str]], expect: Mapping[str, float]) -> Graph:
        operations = [
            Operation(
                id=name,
                server=NAME,
                tool=TOOL,
                arguments={"seconds": seconds, "task": name},
                needs=tuple(needs[name]),
                expect=expect[name],
                timeout=seconds + 60.0,
            )
            for name, seconds in self.seconds.items()
        ]
        return Graph(name=self.name, operations=tuple(operations))


def read_folder(folder: Path) -> list[Workflow]:
    """Read every workflow of a folder; raises `ConfigurationError` where there is none, or one is not a workflow."""
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder} with recorded workflows (*.json)")
    found = [_checked(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise ConfigurationError(f"there is no recorded workflow (*.json) in {folder}")
    return found


def _checked(path: Path) -> Workflow:
    workflow = Workflow.read(path)
    try:
        nothing = not workflow.ideal(1)
    except (GraphError, LookupError) as error:
        raise ConfigurationError(f"{path} holds no recorded workflow: {error}") from error
    if nothing:
        raise ConfigurationError(f"{path}: no task takes any time")
    return workflow
