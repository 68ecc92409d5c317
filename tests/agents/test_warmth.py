"""What makes a server warm, what it is worth, and what an agent is told to keep open."""

from __future__ import annotations

from pathlib import Path

import pytest

from omx_tasks.agents.warming import policy
from omx_tasks.agents.warming.warmth import State, Warmth
from omx_tasks.agents.warming.worth import HALF, Candidate, Frequency, to_close
from omx_tasks.errors import ConfigurationError
from omx_tasks.mcp import config
from omx_tasks.settings import load


def test_what_saves_least_time_for_its_memory_is_closed_first_and_no_more_than_must_be() -> None:
    often = Candidate("often", frequency=50, cold=1, memory=100)
    dear = Candidate("dear", frequency=50, cold=1, memory=1000)
    slow = Candidate("slow", frequency=5, cold=20, memory=100)
    never = Candidate("never", frequency=0, cold=20, memory=10)
    every = [often, dear, slow, never]
    assert to_close(every, 0) == []
    assert to_close(every, 5) == ["never"]
    assert to_close(every, 500) == ["never", "dear"]
    assert to_close(every, 10_000) == ["never", "dear", "often", "slow"]


def test_a_call_counts_half_as_much_after_a_while() -> None:
    frequency = Frequency()
    frequency.add(0.0)
    frequency.add(0.0)
    assert frequency.at(0.0) == 2
    assert frequency.at(HALF) == pytest.approx(1)


def test_a_server_goes_through_its_states_and_what_it_costs_is_counted() -> None:
    one = Warmth("a")
    one.begin()
    one.open(10.0)
    one.call(13.0, cold=False)
    one.call(20.0, cold=False)
    assert (one.state, one.wasted(30.0), one.cold_starts) == (State.WARM, 3.0, 0)
    one.evict(30.0)
    one.call(40.0, cold=True)
    assert (one.state, one.cold_starts) == (State.WARMING, 1)
    one.fail(41.0)
    with pytest.raises(ValueError, match="it is cold"):
        one.evict(42.0)


def test_a_setting_names_what_is_always_open(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(
        '{"mcpServers": {"git": {"command": "x"}, "time": {"command": "x", "omx": {"warm": true}}}}'
    )
    servers = config.load(file)
    held = frozenset(servers.servers)

    def of(warm: str) -> policy.Policy:
        return policy.of_settings(load({"OMX_WARM": warm}), servers, held)

    assert of("all").always == held
    assert (of("planned").always, of("planned").planned) == ({"time"}, True)
    assert (of("planned,git").always, of("none").planned) == (held, False)
    with pytest.raises(ConfigurationError, match=r"'gti' is no server of .* 'git'"):
        of("planned,gti")
    with pytest.raises(ConfigurationError, match="all and none stand alone"):
        of("all,git")
