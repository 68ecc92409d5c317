"""What is wrong is said in one message that names the place and the remedy, before anything is queued."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

import pytest

CALL = "{id: x, server: time, tool: get_current_time, arguments: {timezone: UTC}}"


def graph_of(*operations: str) -> str:
    return "name: bad\noperations:\n" + "".join(f"  - {operation}\n" for operation in operations)


BAD_GRAPHS = {
    "unknown server": (graph_of(CALL.replace("time,", "tmie,")), "Did you mean 'time'?"),
    "unknown tool": (
        graph_of(CALL.replace("current", "curent")),
        "Did you mean 'get_current_time'?",
    ),
    "unknown prompt": (
        graph_of("{id: x, server: notes, prompt: breif, arguments: {topic: a}}"),
        "has no prompt 'breif'. Did you mean 'brief'?",
    ),
    "unknown key": (graph_of(CALL.replace("arguments", "argumnets")), "Did you mean 'arguments'?"),
    "unknown reference": (graph_of(CALL.replace("UTC", '"${y.text}"')), "refers to 'y'"),
    "missing argument": (graph_of("{id: x, server: time, tool: get_current_time}"), "'timezone'"),
    "cycle": (
        graph_of(
            CALL.replace("UTC", '"${y.text}"'),
            CALL.replace("UTC", '"${x.text}"').replace("id: x", "id: y"),
        ),
        "x → y → x",
    ),
    "duplicate id": (graph_of(CALL, CALL), "'x' is given 2 times"),
    "no graph": ("- 1\n- 2\n", "a graph must be a mapping"),
    "no YAML": ("name: [a\n b: {", "line 2, column 3: not valid YAML"),
    "empty": ("", "a graph must be a mapping"),
}


@pytest.mark.parametrize(("text", "expected"), BAD_GRAPHS.values(), ids=BAD_GRAPHS.keys())
def test_a_bad_graph_is_refused_with_its_file_and_the_remedy(system, text, expected):
    path = system.graph(text, "bad.yaml")
    refused = system.omx("run", path, "--json")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"omx: {path}: ")
    assert expected in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "input 'zone' is missing"),
        (["--input", "zne=UTC"], "Did you mean 'zone'?"),
        (["--input", "zone"], "'zone' is not of the form NAME=VALUE"),
        (["--input", "zone=a", "--input", "zone=b"], "'zone' is given twice"),
        (["--input", "zone=UTC", "--input", "count=many"], "must be of type integer"),
    ],
)
def test_a_bad_input_is_refused(system, words, expected):
    text = graph_of(CALL.replace("UTC", '"${inputs.zone}"'))
    inputs = "inputs: {zone: {type: string}, count: {type: integer, default: 1}}\n"
    refused = system.omx("run", system.graph(inputs + text, "inputs.yaml"), *words)
    assert (refused.code, refused.out) == (2, "")
    assert expected in refused.err


def test_a_graph_file_that_is_not_there_is_named(system):
    refused = system.omx("run", "nowhere.yaml")
    assert refused.code == 2
    assert refused.err == "omx: nowhere.yaml: there is no such file\n"


def test_a_broken_server_that_the_graph_uses_is_refused_with_its_own_words(system):
    refused = system.omx(
        "run", system.graph(graph_of("{id: x, server: broken, tool: t}"), "u.yaml")
    )
    assert refused.code == 2
    assert "operation 'x': server 'broken'" in refused.err
    assert "no licence" in refused.err


def test_a_broken_server_that_the_graph_does_not_use_is_only_a_warning(system):
    done = system.omx("run", system.graph(graph_of(CALL), "good.yaml"), "--json")
    assert (done.code, done.json["state"]) == (0, "succeeded")
    assert "omx: warning: server 'broken'" in done.err


def test_another_server_file_than_the_running_systems_is_refused(system):
    system.servers({}, "other.json")
    graph = system.graph(graph_of(CALL), "good.yaml")
    refused = system.omx("run", graph, "--mcp-config", "other.json")
    assert refused.code == 2
    assert "other.json differs from" in refused.err
    assert system.omx("run", graph, "--mcp-config", ".mcp.json").code == 0


def test_another_server_file_than_that_of_a_configured_clusters_agents_is_refused(system):
    url = json.loads((system.home / "system.json").read_text())["broker_url"]
    system.servers({"time": {"command": "x"}}, "third.json")
    graph = system.graph(graph_of(CALL), "good.yaml")
    refused = system.omx("run", graph, "--mcp-config", "third.json", OMX_BROKER_URL=url)
    assert refused.code == 2
    assert "differs from the server file of the agents" in refused.err


def test_the_cluster_of_the_running_system_is_not_stopped_alone(system):
    refused = system.omx("cluster", "down")
    assert (refused.code, "`omx down` stops both" in refused.err) == (2, True)
    assert system.omx("runs").code == 0


def test_a_second_up_is_refused(system):
    for words in (["up"], ["up", "--detach"]):
        refused = system.omx(*words)
        assert refused.code == 2
        assert "is up already" in refused.err


#: Five, and what a machine at its limits adds to them.
SECONDS = 10
COMMANDS = [
    "run graph.yaml",
    "runs",
    "status x",
    "watch x",
    "tools",
    "call s t",
    "agents",
    "check graph.yaml",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_broker_that_is_not_there_is_said_within_five_seconds(place, gate, command):
    place.graph(gate.graph())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        began = time.monotonic()
        url = f"rediscluster://127.0.0.1:{taken.getsockname()[1]}"
        refused = place.omx(*command.split(), OMX_BROKER_URL=url)
    assert refused.code == 2
    assert f"no node of {url} answers" in refused.err
    assert time.monotonic() - began < SECONDS


def test_a_broker_that_hangs_is_said_within_five_seconds(place, gate):
    with socket.socket() as hangs:
        hangs.bind(("127.0.0.1", 0))
        hangs.listen()
        began = time.monotonic()
        url = f"rediscluster://127.0.0.1:{hangs.getsockname()[1]}"
        refused = place.omx("run", place.graph(gate.graph()), OMX_BROKER_URL=url)
    assert refused.code == 2
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize(
    "command", ["up", "down", "run graph.yaml", "runs", "demo", "cluster status"]
)
def test_a_misspelt_setting_is_refused_by_every_command(place, command):
    refused = place.omx(*command.split(), OMX_BROKER_ULR="x")
    assert refused.code == 2
    assert refused.err == "omx: OMX_BROKER_ULR is no setting. Did you mean 'OMX_BROKER_URL'?\n"


def test_a_setting_of_the_wrong_kind_is_refused(place):
    refused = place.omx("runs", OMX_SLOTS="many")
    assert refused.code == 2
    assert refused.err.startswith("omx: OMX_SLOTS='many': ")


@pytest.mark.parametrize("command", ["down", "runs", "agents"])
def test_with_nothing_up_the_way_to_a_system_is_told(place, command):
    refused = place.omx(command)
    assert refused.code == 2
    assert "no system is up" in refused.err


def test_detach_without_a_system_that_stays_is_refused(place, gate):
    refused = place.omx("run", place.graph(gate.graph()), "--detach")
    assert refused.code == 2
    assert "omx up --detach" in refused.err


@pytest.mark.parametrize("words", [["up"], ["up", "--detach"]], ids=" ".join)
def test_a_home_that_cannot_be_written_to_is_named(place, words):
    (place.root / "file").touch()
    refused = place.omx(*words, XDG_DATA_HOME=str(place.root / "file"))
    assert refused.code == 2
    assert f"cannot write to {place.root / 'file' / 'omx'}" in refused.err


BAD_FILES = {
    "missing": (None, "there is no such server file"),
    "not JSON": ("{nope", "line 1, column 2: not JSON"),
    "misspelt": ('{"mcpServers": {"time": {"comand": "x"}}}', "Did you mean 'command'?"),
}


@pytest.mark.parametrize(("text", "expected"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_server_file_is_refused_before_anything_starts(place, gate, text, expected):
    if text is not None:
        (place.folder / "bad.json").write_text(text)
    for words in (["run", place.graph(gate.graph())], ["up", "--detach"]):
        refused = place.omx(*words, "--mcp-config", "bad.json")
        assert refused.code == 2
        assert "bad.json: " in refused.err
        assert expected in refused.err


BAD_SERVERS = {
    "no such command": ({"command": "no-such-program"}, "there is no such command"),
    "ends at once": ({"command": "sh", "args": ["-c", "exit 3"]}, "exited with status 3"),
    "prints garbage": (
        {"command": "echo", "args": ["hello"]},
        "what is not an MCP message: 'hello'",
    ),
    "stays silent": (
        {"command": sys.executable, "args": ["-c", "import sys; sys.stdin.read()"]},
        "did not finish the MCP handshake within 1 s",
    ),
}


def test_tools_says_why_each_server_cannot_be_used(place):
    place.servers({name: server for name, (server, _) in BAD_SERVERS.items()})
    warned = place.omx("tools", OMX_SERVER_START_TIMEOUT="1").err.splitlines()
    for name, (_, expected) in BAD_SERVERS.items():
        (line,) = (line for line in warned if f"server {name!r}" in line)
        assert line.startswith("omx: warning: ")
        assert expected in line


def test_check_refuses_a_graph_whose_server_cannot_be_used(place):
    place.servers({"bad": {"command": "no-such-program"}})
    refused = place.omx("check", place.graph(graph_of("{id: x, server: bad, tool: t}")))
    assert refused.code == 2
    assert "operation 'x': server 'bad'" in refused.err
    assert "there is no such command" in refused.err


def test_a_server_that_cannot_start_ends_a_run_that_needs_it_and_leaves_nothing(place):
    place.servers({"bad": {"command": "no-such-program"}})
    refused = place.omx("run", place.graph(graph_of("{id: x, server: bad, tool: t}")), "--json")
    assert (refused.code, refused.out) == (2, "")
    assert "there is no such command" in refused.err


def test_an_unknown_command_is_answered_with_the_nearest(place):
    refused = place.omx("rn")
    assert refused.code == 2
    assert "run" in refused.err


def test_celerys_own_commands_show_a_misspelt_setting_as_one_message(place):
    refused = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "omx_tasks", "inspect", "ping"],
        env=place.environ(OMX_BROKER_ULR="x"),
        cwd=place.folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert refused.returncode == 2
    assert "Did you mean 'OMX_BROKER_URL'?" in refused.stderr
    assert "Traceback" not in refused.stderr
