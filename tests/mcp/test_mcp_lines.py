"""The lines that a server writes, told apart without being parsed."""

from __future__ import annotations

import json

import pytest

from omx_tasks.mcp.lines import Allowance, Line, Notifications, answered_by, is_notification

ANSWER = {"jsonrpc": "2.0", "id": 17, "result": {"text": "x" * 2000, "id": 5}}


@pytest.mark.parametrize("size", [1, 7, 300, 5000])
@pytest.mark.parametrize("limit", [10, 1000, 5000])
def test_a_line_is_whole_or_its_ends(size: int, limit: int) -> None:
    line, text = Line(limit), json.dumps(ANSWER).encode()
    for _ in range(2):
        for begin in range(0, len(text), size):
            line.add(text[begin : begin + size])
        got, length = line.end()
        assert length == len(text)
        if limit >= length:
            assert got == text
        else:
            assert got == text[:200] + b"\n" + text[-200:]


@pytest.mark.parametrize(
    ("message", "identity"),
    [
        (ANSWER, 17),
        ({"id": 3, "jsonrpc": "2.0", "result": ANSWER}, 3),
        ({"jsonrpc": "2.0", "result": ANSWER, "id": 4}, 4),
        ({"result": ANSWER, "id": 4, "jsonrpc": "2.0"}, 4),
        ({"result": {"id": 4, "text": "x" * 500}, "jsonrpc": "2.0"}, None),
        ({"jsonrpc": "2.0", "method": "m", "params": {"id": 4, "text": "x" * 500}}, None),
        ({"jsonrpc": "2.0", "id": "text", "result": ANSWER}, None),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_the_ends_tell_which_call_is_answered(
    message: object, identity: int | None, indent: int | None
) -> None:
    text = json.dumps(message, indent=indent).replace("\n", " ").encode()
    assert answered_by(text[:200] + b"\n" + text[-200:]) == identity


def test_notifications_are_told_from_answers_that_speak_of_them() -> None:
    told = {"jsonrpc": "2.0", "method": "notifications/progress"}
    assert is_notification(json.dumps(told).encode())
    assert is_notification(json.dumps(told, separators=(",", ":")).encode())
    answer = {"jsonrpc": "2.0", "id": 1, "result": {"text": json.dumps(told)}}
    assert not is_notification(json.dumps(answer).encode())


def test_an_allowance_is_so_many_at_once_and_so_many_a_second() -> None:
    now = [0.0]
    allowance = Allowance(3, 2, lambda: now[0])
    assert [allowance.take() for _ in range(5)] == [True] * 3 + [False] * 2
    now[0] += 1
    assert [allowance.take() for _ in range(3)] == [True] * 2 + [False]
    now[0] += 100
    assert [allowance.take() for _ in range(4)] == [True] * 3 + [False]


def test_of_what_is_not_let_through_the_newest_of_each_call_is_kept():
    def told(token, progress):
        return b'{"method": "notifications/progress", "params": {"progressToken": %d, "progress": %d}}' % (
            token, progress,
        )  # fmt: skip

    notifications = Notifications(Allowance(2, 1, lambda: 0.0))
    assert [notifications.let_through(told(token, step)) for step in range(3) for token in (1, 2)] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    assert notifications.kept() == [told(1, 2), told(2, 2)]
    assert notifications.kept() == []
