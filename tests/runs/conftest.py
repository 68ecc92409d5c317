"""Runs driven by hand, on the session's cluster."""

from __future__ import annotations

from typing import Any

import pytest
from driven import Drive, Driven

from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.store.client import Store


@pytest.fixture
def drive(store: Store) -> Drive:
    """Begin a run of these operations."""

    def begin(*operations: Operation, **fields: Any) -> Driven:
        driven = Driven(
            store, compile_plan(Graph(name="driven", operations=list(operations))), **fields
        )
        assert driven.submit() == list(driven.plan.roots)
        return driven

    return begin
