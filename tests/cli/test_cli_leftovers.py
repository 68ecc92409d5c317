"""However a system or a run ends, no process and no folder is left, and what survives goes on.

The fixture ``place`` looks for processes, for temporary folders and for the record of a system after each test.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys

import psutil
import pytest

INT, TERM = signal.SIGINT, signal.SIGTERM


def nodes_run(place, _gate, _started):
    return len(place.processes()) > 2


def agents_start(_place, _gate, started):
    return "cluster ready" in started.err


def run_is_under_way(_place, gate, _started):
    return gate.callers


@pytest.mark.parametrize(
    ("number", "moment", "code"),
    [(INT, nodes_run, 130), (TERM, agents_start, 130), (INT, run_is_under_way, 1)],
)
def test_a_run_with_a_system_of_its_own_can_be_interrupted_at_any_time(
    place, gate, number, moment, code
):
    started = place.start("run", place.graph(gate.graph()))
    started.until(lambda: moment(place, gate, started))
    started.send(number)
    assert started.end().code == code


def test_a_second_ctrl_c_does_not_interrupt_the_cleaning_up(place, gate):
    started = place.start("run", place.graph(gate.graph()))
    started.until(lambda: "cluster ready" in started.err)
    started.send(INT)
    started.until(lambda: "taking the system down" in started.err)
    started.send(INT)
    started.send(TERM)
    assert started.end().code == 130


@pytest.mark.parametrize(("number", "moment"), [(TERM, nodes_run), (INT, agents_start)])
def test_up_can_be_interrupted_while_it_starts(place, gate, number, moment):
    started = place.start("up", "--agents", "1")
    started.until(lambda: moment(place, gate, started))
    started.send(number)
    assert started.end().code == 130


def test_up_in_the_foreground_runs_until_ctrl_c(place, gate):
    gate.open()
    started = place.start("up", "--agents", "1", "--slots", "4", "--json")
    started.until(lambda: started.out)
    assert place.omx("runs", "--json").json == []
    assert "no runs yet" in place.omx("runs").err
    assert place.omx("run", place.graph(gate.graph())).code == 0
    assert [agent["slots"] for agent in place.omx("agents", "--json").json] == [4]
    started.send(INT)
    assert started.end().code == 0


def test_up_detach_can_be_interrupted_while_it_waits(place):
    started = place.start("up", "--detach", "--agents", "1")
    started.until(lambda: (place.home / "system.json").exists())
    started.send(INT)
    assert started.end().code == 130


def test_the_demo_shows_the_answer_and_the_speed_up_and_leaves_nothing(place):
    done = place.omx("demo")
    assert done.code == 0, done.err
    assert "garden-brief" in done.out
    assert "# Brief of 8 notes" in done.out
    assert "speed-up" in done.out


def test_the_demo_can_be_interrupted(place, gate):
    started = place.start("demo")
    started.until(lambda: agents_start(place, gate, started))
    started.send(INT)
    assert started.end().code == 130


def test_two_runs_at_once_with_no_system_have_one_each(place, gate):
    gate.open()
    both = [place.start("run", place.graph(gate.graph()), "--json") for _ in range(2)]
    ended = [started.end() for started in both]
    assert [one.code for one in ended] == [0, 0]
    assert ended[0].json["run"] != ended[1].json["run"]


LEAVER = """
import os, subprocess, sys
from omx_tasks.mcp.reaper import marks
server = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
environ, quiet = {**os.environ, **marks("agent@gone")}, subprocess.DEVNULL
print(subprocess.Popen(server, env=environ, stdin=quiet, stdout=quiet, stderr=quiet).pid)
"""


def test_down_ends_the_servers_that_agents_left_where_none_is_up_any_more(place):
    """An agent that lives on this machine beside the test may be the first to find one: then another one is left."""
    for _ in range(10):
        ended = subprocess.run([sys.executable, "-c", LEAVER], capture_output=True, check=True)
        left = int(ended.stdout)
        done = place.omx("down")
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(left).wait(60)
        assert done.code == 2
        assert "there is nothing to stop" in done.err
        if "dead agents had left behind" in done.err:
            break
    else:
        raise AssertionError("others ended all of them first")


def test_of_two_systems_started_in_one_home_at_once_one_is_up_and_after_its_sigkill_the_next(
    place, gate
):
    """All processes are bound to the supervisor. A run that was under way ends after the next start."""
    words = ("up", "--detach", "--agents", "1", "--json")
    both = [place.start(*words, OMX_LEASE="1", OMX_OVERDUE="1") for _ in range(2)]
    assert sorted(started.end().code for started in both) == [0, 2]
    (up,) = (json.loads(started.out) for started in both if started.out)
    run = place.omx("run", place.graph(gate.graph()), "--detach").out.strip()
    supervisor = psutil.Process(up["pid"])
    supervisor.kill()
    supervisor.wait(60)
    assert "no system is up" in place.omx("runs").err
    assert place.omx("up", "--detach", "--agents", "1", OMX_LEASE="1", OMX_OVERDUE="1").code == 0
    gate.open()
    assert place.omx("result", run, "--json").json["state"] == "succeeded"
    assert place.omx("down", "--json").json["folder"] == str(place.home)


def the_agent_that_called(system, gate, *words):
    """Start a run, and return it with the agent that made its first call."""
    started = system.start("run", system.graph(gate.graph(*words)), "--json")
    started.until(lambda: gate.callers)
    return started, psutil.Process(gate.callers[0])


def test_a_killed_agent_is_started_again_and_what_may_be_repeated_is(system, gate):
    started, agent = the_agent_that_called(system, gate, "look")
    agent.kill()
    started.until(lambda: len(gate.callers) >= 2)
    gate.open()
    ended = started.end()
    assert (ended.code, ended.json["state"]) == (0, "succeeded")
    assert ended.json["operations"]["wait"]["attempts"] >= 2
    started.until(lambda: agent.pid not in _pids(system))
    system.until_whole()


def test_a_call_that_may_not_be_repeated_is_unknown_after_its_agent_was_killed(system, gate):
    started, agent = the_agent_that_called(system, gate, "change")
    agent.kill()
    ended = started.end()
    assert (ended.code, ended.json["state"]) == (1, "failed")
    assert ended.json["operations"]["wait"]["state"] == "unknown"
    assert ended.json["operations"]["then"]["state"] == "skipped"
    assert len(gate.callers) == 1
    started.until(lambda: agent.pid not in _pids(system))
    system.until_whole()


def _pids(system):
    return [agent["pid"] for agent in system.omx("agents", "--json").json]
