"""Partitions, groups and types that no other test uses."""

from __future__ import annotations

import itertools
import uuid

import pytest

from omx_tasks.events.log import Group

_partitions = itertools.count(100)


@pytest.fixture
def partition() -> int:
    """The number of a partition that no bus uses."""
    return next(_partitions)


@pytest.fixture
def word() -> str:
    """The first word of types that no other test publishes."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group(word: str) -> Group:
    """A group that handles all of the test's types, from the beginning."""
    return Group(f"group-{word}", (f"{word}.*",), begins="oldest", lease=10_000)
