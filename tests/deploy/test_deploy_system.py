"""A system that cannot come up leaves nothing behind and says why."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading

import psutil
import pytest

from omx_tasks.deploy import nursery
from omx_tasks.deploy.system import LocalSystem
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.home import Home
from omx_tasks.mcp import config


@pytest.fixture
def make(tmp_path):
    """Make a system without servers in a home of the test's own."""
    path = tmp_path / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": {}}))
    made = []

    def system(**environ: str) -> LocalSystem:
        made.append(
            LocalSystem(
                Home(tmp_path / "omx"), config.load(path), {**os.environ, **environ}, agents=1
            )
        )
        return made[-1]

    yield system
    for one in made:
        one.stop()
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info["cmdline"])
    ]


def test_an_agent_that_ends_while_it_starts_is_told_with_its_last_words(make, until):
    system = make()
    system.home.logs.mkdir(parents=True)
    log = system.home.logs / "agent1.log"

    def end_it() -> None:
        until(lambda: system._nursery is not None and system._nursery.processes)
        (process,) = system._nursery.processes
        until(lambda: process.alive)
        with log.open("a") as stream:
            stream.write("no licence\n")
        os.kill(process.launched.pid, signal.SIGKILL)

    ender = threading.Thread(target=end_it)
    ender.start()
    with pytest.raises(UnavailableError, match=r"agent1 ended while it started:(.|\n)*no licence"):
        system.start()
    ender.join()
    assert system.home.read() is None


def test_a_setting_that_agents_would_refuse_is_told_before_any_starts(make):
    system = make(OMX_NOTHING="1")
    with pytest.raises(ConfigurationError, match="OMX_NOTHING is no setting"):
        system.start()
    assert system.home.read() is None


def test_agents_that_are_not_warm_in_time_are_told(make, monkeypatch):
    monkeypatch.setattr(nursery, "WARM", 0.0)
    with pytest.raises(UnavailableError, match=r"not warm in 0 s; see .*logs"):
        make().start()


def test_a_home_that_is_claimed_is_refused_and_left_as_it_is(make):
    system, other = make(), make()
    other.home.claim()
    with pytest.raises(ConfigurationError, match="is up already"):
        system.start()
    other.home.release()


def test_a_system_that_was_stopped_before_it_began_stops_quietly(make):
    make().stop()


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("agent1@{host}-999999999", True),
        ("agent1@{host}-{pid}", False),
        ("agent1@elsewhere-999999999", False),
        ("agent1", False),
    ],
)
def test_agents_of_a_supervisor_that_is_gone_are_told_from_all_others(agent, expected):
    name = agent.format(host=socket.gethostname(), pid=os.getpid())
    assert nursery.is_dead(name) is expected
