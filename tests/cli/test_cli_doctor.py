"""``omx doctor``: all that is wrong at once, with what to do, and the exit code."""

from __future__ import annotations

import json
import sys

TIME = {"command": sys.executable, "args": ["-m", "mcp_server_time"]}


def test_a_system_with_a_broken_server_is_told_from_one_that_is_well(system):
    found = system.omx("doctor", "--json")
    assert found.code == 1
    servers = found.json["servers"]
    assert {name for name, one in servers.items() if not one["well"]} == {"broken"}
    assert servers["broken"]["words"] == "no licence"
    states = {
        one["name"]: one["state"] for one in found.json["machine"] if "broken" not in one["text"]
    }
    assert states["cluster"] == states["durability"] == states["agents"] == "well"
    one = system.omx("doctor", "time", COLUMNS="80")
    assert (one.code, "all is well: 1 server" in one.out) == (0, True)
    assert all(len(line) <= 80 for line in one.out.splitlines()[1:])


def test_agents_with_another_server_file_are_found(system, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"mcpServers": {"time": TIME}}))
    found = system.omx("doctor", "--mcp-config", other)
    assert found.code == 1
    assert "run with another server file than other.json" in " ".join(found.out.split())


def test_the_servers_of_the_system_that_is_up_are_looked_at_from_any_folder(system, tmp_path):
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps({"mcpServers": {}}))
    found = system.omx("doctor", "time", "--json", OMX_MCP_CONFIG=str(elsewhere))
    assert (found.code, list(found.json["servers"])) == (0, ["time"])


def test_every_mistake_of_a_file_is_shown_and_nothing_is_started_with_one(place):
    servers = {"a": {"command": "x", "args": ["${NOPE_A}"]}, "b": {"command": "${NOPE_B}"}}
    place.servers(servers)
    refused = place.omx("up")
    assert refused.code == 2
    assert all(
        word in refused.err for word in ("'a': args[0]: ${NOPE_A}", "'b': command: ${NOPE_B}")
    )
    place.servers({**servers, "c": {"commnd": "x"}, "time": TIME})
    found = place.omx("doctor", "--json")
    wrong = {name: one["wrong"] for name, one in found.json["servers"].items()}
    assert (found.code, sorted(wrong), wrong["time"]) == (1, ["a", "b", "c", "time"], None)
    assert "Did you mean 'command'?" in wrong["c"]
    unknown = place.omx("doctor", "tiem")
    assert (unknown.code, "Did you mean 'time'?" in unknown.err) == (2, True)
