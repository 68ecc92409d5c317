"""The states of a circuit."""

from __future__ import annotations

import pytest

from omx_tasks.errors import OperationError
from omx_tasks.mcp.circuit import LONGEST_PAUSE, MOST, PAUSE, Circuit

ERROR = OperationError("timeout", "too late")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seen() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def circuit(clock: Clock, seen: list[tuple[str, str]]) -> Circuit:
    return Circuit("s", lambda circuit, before: seen.append((before, circuit.state)), clock)


def fail(circuit: Circuit, times: int = MOST) -> None:
    for _ in range(times):
        circuit.failed(ERROR)


def test_failures_in_a_row_open_it_and_an_answer_among_them_does_not(circuit: Circuit) -> None:
    fail(circuit, MOST - 1)
    circuit.answered()
    fail(circuit, MOST - 1)
    assert circuit.closed
    fail(circuit, 1)
    assert circuit.state == "open"
    assert "too late" in circuit.refusal().message


def test_a_fatal_failure_opens_it_at_once(circuit: Circuit) -> None:
    circuit.failed(ERROR, fatal=True)
    assert circuit.state == "open"


def test_what_fails_while_it_is_open_changes_nothing(
    circuit: Circuit, clock: Clock, seen: list[tuple[str, str]]
) -> None:
    fail(circuit)
    pause = circuit.pause
    fail(circuit, 30)
    assert circuit.pause == pause
    assert seen == [("closed", "open")]


def test_the_probe_closes_it_and_the_next_failure_opens_it_for_longer(
    circuit: Circuit, clock: Clock, seen: list[tuple[str, str]]
) -> None:
    fail(circuit)
    assert PAUSE / 2 <= circuit.pause <= PAUSE
    clock.now += 1
    assert circuit.pause == 0
    assert circuit.unwell == 1
    circuit.probe()
    circuit.mended()
    assert circuit.unwell == 0
    circuit.failed(ERROR)
    assert PAUSE <= circuit.pause <= 2 * PAUSE
    assert seen == [
        ("closed", "open"),
        ("open", "half-open"),
        ("half-open", "closed"),
        ("closed", "open"),
    ]


def test_a_call_that_is_answered_ends_the_probation(circuit: Circuit) -> None:
    fail(circuit)
    circuit.probe()
    circuit.mended()
    circuit.answered()
    fail(circuit, MOST - 1)
    assert circuit.closed
    fail(circuit, 1)
    assert circuit.pause <= PAUSE


def test_a_probe_that_fails_makes_the_pause_longer_up_to_a_bound(
    circuit: Circuit, clock: Clock
) -> None:
    fail(circuit)
    for _ in range(20):
        circuit.probe()
        circuit.failed(ERROR)
        clock.now += 1
    assert LONGEST_PAUSE / 2 - 1 <= circuit.pause <= LONGEST_PAUSE
    assert circuit.unwell == 20


def test_an_answer_that_comes_while_it_is_open_does_not_close_it(circuit: Circuit) -> None:
    fail(circuit)
    circuit.answered()
    assert circuit.state == "open"
