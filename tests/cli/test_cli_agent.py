"""``omx agent start`` and ``stop``: agents beside the system's, in the foreground and in the background."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from conftest import Place

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def start(system: Place) -> Iterator[Callable[..., Any]]:
    """Start agents beside the shared system; what is left of them at the end is stopped."""
    started = []

    def begin(*words: object, **environ: str) -> Any:
        started.append(system.start("agent", "start", *words, **environ))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.send(signal.SIGKILL)
            one.end()


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended meanwhile
        return ""


def _agents(system: Place) -> dict[str, dict[str, Any]]:
    found = system.omx("agents", "--json").json
    return {one["name"].partition("@")[0]: one for one in found}


def test_agents_of_a_template_come_and_go_in_the_background(
    system: Place, gated: dict[str, Any]
) -> None:
    roles = {"gate": {**gated, "omx": {"roles": ["git"], "read_only": ["look"]}}}
    file = system.servers(roles, "coder.json")
    bounds = ("--min", 1, "--max", 3, "--idle", 30)
    words = ("agent", "start", "--name", "mine", *bounds, "--mcp-config", file, "--detach")
    try:
        told = system.omx(*words, "--json", OMX_TEMPLATE="coder")
        assert told.code == 0, told.err
        record = told.json
        said = tuple(record[name] for name in ("template", "min", "max", "idle"))
        assert said == ("coder", 1, 3, 30)
        one = _agents(system)["mine1"]
        assert (one["template"], one["servers"], one["slots"]) == ("coder", ["gate"], 16)
        assert one["unfilled"] == ["filesystem", "memory"]
        again = system.omx(*words)
        assert again.code == 2
        assert "omx agent stop mine" in again.err
    finally:
        stopped = system.omx("agent", "stop", "mine")
    assert stopped.code == 0, stopped.err
    assert stopped.err == "stopped " + record["name"] + "\n"
    assert "mine1" not in _agents(system)
    assert not [one for one in system.processes() if "mine" in _words(one)]


def test_ctrl_c_stops_agents_in_the_foreground(
    system: Place, gated: dict[str, Any], start: Callable[..., Any]
) -> None:
    file = system.servers({"gate": gated}, "plain.json")
    agents = start("--name", "front", "--count", 2, "--mcp-config", file)
    agents.until(lambda: "2 agents warm; Ctrl-C stops" in agents.err)
    assert {"front1", "front2"} <= _agents(system).keys()
    agents.send(signal.SIGINT)
    ended = agents.end()
    assert ended.code == 0, ended.err
    assert "stopping: what is under way ends first" in ended.err
    assert not {"front1", "front2"} & _agents(system).keys()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["codr"], "there is no template 'codr'. Did you mean 'coder'?"),
        (["coder"], "no server of {file} fills one of its roles (filesystem, git, memory)"),
        (["--count", "5", "--max", "3"], "--count 5 is not within --min 3 and --max 3"),
        (["--name", "Nine9"], "write small letters"),
    ],
)
def test_what_can_start_no_agent_is_told(
    system: Place, gated: dict[str, Any], words: list[str], said: str
) -> None:
    file = system.servers({"gate": gated}, "plain.json")
    told = system.omx("agent", "start", *words, "--mcp-config", file)
    assert told.code == 2
    assert said.format(file=file) in told.err


def test_agents_of_the_system_are_not_stopped_by_themselves(system: Place) -> None:
    told = system.omx("agent", "stop", "agent")
    assert told.code == 2
    assert "`omx down` stops it" in told.err
    assert system.omx("agent", "stop", "nobody").code == 2
    assert system.omx("agent", "stop").code == 2
