"""Processes that are kept running, and what dead agents leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress

import psutil
import pytest

from omx_tasks.deploy.process import FIRST_PAUSE, LONGEST_PAUSE, Process, end_all
from omx_tasks.mcp import reaper

WAIT = "import signal; print('ready', flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT[14:]}"


@pytest.fixture
def make(tmp_path):
    """Start a Python script as a process that is kept."""
    made = []

    def start(script: str, name: str = "one") -> Process:
        made.append(Process(name, [sys.executable, "-S", "-c", script], tmp_path / f"{name}.log"))
        made[-1].start(os.environ)
        return made[-1]

    yield start
    end_all(made, 1.0)


def test_it_runs_until_all_are_ended(make, until):
    both = [make(WAIT, "one"), make(WAIT, "two")]
    until(lambda: all(process.tail() == "ready" for process in both))
    assert all(process.alive for process in both)
    end_all(both, 5.0)
    assert not any(process.alive for process in both)


def test_one_that_ignores_sigterm_is_killed(make, until):
    process = make(STUBBORN)
    until(lambda: process.tail() == "ready")
    end_all([process], 0.2)
    assert not process.alive


def test_ending_what_never_started_does_nothing(tmp_path):
    end_all([Process("never", ["true"], tmp_path / "log")], 1.0)


def test_the_tail_is_what_was_written_since_the_last_start(make, until):
    process = make("print('first')")
    until(lambda: not process.alive)
    assert process.tail() == "first"
    process.command[-1] = "print('second')"
    process.start(os.environ)
    until(lambda: not process.alive)
    assert process.tail() == "second"


def test_the_pause_before_a_new_start_doubles_up_to_the_longest(make):
    process = make("")
    pauses = [process.plan_next_start() for _ in range(9)]
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_the_pause_is_short_again_after_a_long_life(make):
    process = make("")
    process.plan_next_start()
    process.plan_next_start()
    process.started = time.monotonic() - 100
    assert process.plan_next_start() == FIRST_PAUSE


def test_it_is_due_when_its_pause_is_over(make):
    process = make("")
    assert not process.is_due
    before = time.monotonic()
    pause = process.plan_next_start()
    assert before + pause <= process.next_start
    process.next_start = time.monotonic() + 60.0
    assert not process.is_due
    process.next_start = time.monotonic()
    assert process.is_due


@pytest.fixture
def server():
    """A process that an agent of a name of its own started."""
    name = f"agent-{uuid.uuid4().hex}@here"
    environ = {**os.environ, reaper.MARK: name}
    with subprocess.Popen(
        [sys.executable, "-S", "-c", STUBBORN], env=environ, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield name, process
        process.kill()


def test_what_a_dead_agent_left_is_ended_though_it_ignores_sigterm(server, monkeypatch):
    monkeypatch.setattr(reaper, "PATIENCE", 0.3)
    name, process = server
    assert reaper.reap(lambda agent: agent == name) == 1
    assert not psutil.pid_exists(process.pid)
    assert reaper.reap(lambda agent: agent == name) == 0


def test_what_belongs_to_another_agent_is_not_touched(server):
    _, process = server
    assert reaper.reap(lambda agent: agent == "agent-of-nobody") == 0
    assert psutil.Process(process.pid).is_running()


STARTER = """
import os, subprocess, sys
from omx_tasks.mcp.reaper import marks
environ = {**os.environ, **marks("nobody@nowhere")}
child = subprocess.Popen([sys.executable, "-S", "-c", sys.argv[1]], env=environ, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


def _runs(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_what_an_agent_that_nobody_keeps_left_is_found_when_its_process_is_gone(monkeypatch):
    monkeypatch.setattr(reaper, "PATIENCE", 0.3)
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as agent:
        assert agent.stdout is not None
        left = int(agent.stdout.readline())
        try:
            reaper.reap_orphans()
            assert psutil.pid_exists(left)  # its agent lives
            agent.kill()
            agent.wait()
            assert left in [process.pid for process in reaper.orphans()]
            assert reaper.reap_orphans() >= 1
            assert not _runs(left)
        finally:
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)


def test_a_pause_is_cut_short_where_nobody_else_is_up_and_an_end_in_good_order_is_no_death(
    make, until
):
    process = make("")
    until(lambda: not process.alive)
    for _ in range(7):
        process.plan_next_start()
    process.start_within(5.0)
    assert process.next_start < time.monotonic() + 5.0
    process.start_within(9.0)
    assert process.next_start < time.monotonic() + 5.0
    assert process.ended_well
    process.start_again_soon()
    assert (process.deaths, process.reason) == (7, "ended with status 0")
