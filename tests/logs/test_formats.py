"""How records are written."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from omx_tasks.logs import subject
from omx_tasks.logs.formats import Json, Text


class Call:
    """Something that is under way."""

    def __init__(self) -> None:
        self.over = False

    def about(self) -> dict[str, Any]:
        return {} if self.over else {"run": "r1", "operation": "read"}


def record(message: str, *args: object, **extra: Any) -> logging.LogRecord:
    one = logging.LogRecord("omx.test", logging.WARNING, __file__, 1, message, args, None)
    one.created = 1_790_000_000.25
    one.__dict__.update(extra)
    return one


def written(one: logging.LogRecord) -> dict[str, Any]:
    line = Json("agent", "agent1@here").format(one)
    assert "\n" not in line
    said: dict[str, Any] = json.loads(line)
    return said


def test_a_line_of_json_says_when_who_and_what() -> None:
    said = written(record("at %s", "é\n\ud800", server="notes", tool="list", attempt=2))
    assert said.pop("pid") > 0
    assert said == {
        "time": "2026-09-21T14:13:20.250Z",
        "level": "WARNING",
        "logger": "omx.test",
        "message": "at é\n\ud800",
        "process": "agent",
        "agent": "agent1@here",
        "attempt": 2,
        "server": "notes",
        "tool": "list",
    }


def test_an_error_has_its_traceback_without_the_secret_in_it() -> None:
    try:
        raise ValueError("Bearer abcdefghij")
    except ValueError:
        one = record("no")
        one.exc_info = sys.exc_info()
    said = written(one)
    assert said["traceback"].startswith("Traceback")
    assert said["traceback"].endswith("ValueError: Bearer ***")


def test_arguments_that_do_not_fit_lose_no_line() -> None:
    assert written(record("%d and %d", "one"))["message"] == "%d and %d ('one',)"


def test_a_record_belongs_to_what_is_under_way_and_to_nothing_after_it() -> None:
    call, text = Call(), Text(logging.Formatter("%(message)s"))
    subject.enter(call)
    assert written(record("x"))["run"] == "r1"
    assert text.format(record("read meets a fault\nTraceback")) == (
        "read meets a fault (run r1)\nTraceback"
    )
    call.over = True
    assert "run" not in written(record("x"))
    assert text.format(record("x")) == "x"
    del call
    assert "run" not in written(record("x"))
