"""When a server wants to be asked again."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from omx_tasks.mcp.retry_hint import of_data, of_header


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        ({"retryAfter": 3}, 3.0),
        ({"retry_after": 0.5}, 0.5),
        ({"retryAfterMs": 250}, 0.25),
        ({"retry_after_ms": 1000}, 1.0),
        ({"retryAfter": -1}, 0.0),
        ({"retryAfter": True}, None),
        ({"retryAfter": "soon"}, None),
        ({"retryAfter": float("inf")}, None),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_the_data_of_an_error_may_name_seconds(data: Any, seconds: float | None) -> None:
    assert of_data(data) == seconds


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), ("", None), (None, None), ("x", None)])
def test_a_header_may_name_seconds(text: str | None, seconds: float | None) -> None:
    assert of_header(text) == seconds


def test_a_header_may_name_a_date() -> None:
    soon = of_header(formatdate(time.time() + 60, usegmt=True))
    assert soon is not None
    assert 50 < soon <= 60
    assert of_header(formatdate(time.time() - 60, usegmt=True)) == 0.0
