"""Every process of a system logs lines of JSON, where it is asked to, and none has a secret in it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Place

SECRET, PASSWORD = 'planted"s3cr3t\\value', "hunter22222"
LEAKY = """
import json, os, sys
print("begins with", os.environ["API_KEY"], file=sys.stderr, flush=True)
"""


def parsed(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_process_of_a_system_logs_json_without_secrets(place: Place) -> None:
    servers = {
        "leaky": {
            "command": sys.executable,
            "args": ["-S", "-c", LEAKY],
            "env": {"API_KEY": "${PLANTED}"},
        },
        "web": {
            "url": f"http://joe:{PASSWORD}@127.0.0.1:9/mcp",
            "headers": {"Authorization": "Bearer ${PLANTED}"},
        },
    }
    file = place.folder / ".mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}), "utf-8")
    environ = {"OMX_LOG_FORMAT": "json", "PLANTED": SECRET, "TEST_PLACE": str(place.root)}
    graph = {"name": "g", "operations": [{"id": "bad", "server": "leaky", "tool": "none"}]}
    path = place.graph(json.dumps(graph))
    up = place.omx("up", "--detach", "--agents", "1", **environ)
    try:
        assert up.code == 0, up.err
        run = place.omx("run", path, **environ)
        assert run.code != 0
        wrong = place.omx("run", "missing.yaml", **environ)
        assert wrong.code == 2
        twice = place.omx("up", "--detach", **environ)
        assert twice.code == 2
    finally:
        down = place.omx("down", **environ)
    assert down.code == 0, down.err
    for answer in (up, run, wrong, twice, down):
        assert {one["process"] for one in parsed(answer.err)} == {"omx"}
        assert "s3cr3t" not in answer.err + answer.out
        assert PASSWORD not in answer.err + answer.out
    assert parsed(wrong.err)[-1]["level"] == "ERROR"
    steps = [one["message"] for one in parsed(up.err)]
    assert steps[0].startswith("cluster ready")
    assert not any(step.startswith("{") for step in steps)
    logs = {log.name: log.read_text("utf-8") for log in (place.home / "logs").glob("*.log")}
    assert logs.keys() >= {"agent1.log", "coordinator.log", "exporter.log", "forkserver.log"}
    assert "begins with ***" in logs["mcp-leaky.log"]
    for name, text in logs.items():
        assert "s3cr3t" not in text, name
        assert PASSWORD not in text, name
        if not name.startswith("mcp-"):  # that is what a server wrote
            process = {"agent1": "agent", "up": "omx"}.get(name[:-4], name[:-4])
            assert {one["process"] for one in parsed(text)} <= {process}
