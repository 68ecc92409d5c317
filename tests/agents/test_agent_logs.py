"""What an agent logs of operations and of tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from celery import Celery
from fleet import Agent, Fleet

from omx_tasks.broker.transport import register

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET = 'planted"s3cr3t\\value'


def lines(agent: Agent) -> list[dict[str, Any]]:
    """Return the whole lines, but what Python itself says of a program that is run in a fork of the tests'."""
    said = agent.log.read_text("utf-8").split("\n")[:-1]
    return [json.loads(line) for line in said if not line.startswith("<frozen runpy>")]


def test_a_json_log_says_of_each_line_to_which_operation_or_task_it_belongs(
    fleet: Fleet, queue: str, monkeypatch: Any
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
    monkeypatch.setenv("OMX_LOG_FORMAT", "json")
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    agent = fleet.start(options=["-I", "agent_tasks", "-Q", queue, "-l", "INFO"])
    read = fleet.call("bad", "fail", arguments={"key": f"{SECRET} Bearer abcdefghijkl"})
    run = fleet.submit(fleet.call("good"), read)
    assert not run.wait(60).succeeded
    register()
    with Celery("producer", broker=fleet.url, set_as_current=False) as app:
        no_folder = str(fleet.folder / "no" / "folder")
        headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        task = app.send_task("agent_tasks.touch", (no_folder,), queue=queue, headers=headers)
        fleet.until(lambda: any(one.get("task") == task.id for one in lines(agent)))
        fleet.until(lambda: any("raised" in one["message"] for one in lines(agent)))
    agent.stop()
    said = lines(agent)
    assert {one["process"] for one in said} == {"agent"}
    assert {one["agent"] for one in said} == {agent.name}
    (failed,) = [one for one in said if one.get("operation") == "bad"]
    assert (failed["run"], failed["server"], failed["tool"]) == (run.id, fleet.ledger, "fail")
    assert (failed["level"], failed["attempt"], failed["kind"]) == ("WARNING", 1, "tool")
    (raised,) = [one for one in said if "raised" in one["message"]]
    assert (raised["task"], raised["task_name"]) == (task.id, "agent_tasks.touch")
    assert (raised["trace"], raised["span"]) == (TRACE, "00f067aa0ba902b7")
    assert raised["traceback"].startswith("Traceback")
    assert "worker: Warm shutdown (MainProcess)" in [one["message"] for one in said]
    whole = agent.log.read_text("utf-8")
    assert "s3cr3t" not in whole
    assert "abcdefghijkl" not in whole


def test_a_log_for_people_has_the_same_without_secrets(fleet: Fleet, monkeypatch: Any) -> None:
    monkeypatch.setenv("OMX_LOG_LEVEL", "warning")
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    agent = fleet.start()
    run = fleet.submit(fleet.call("bad", "fail", arguments={"key": SECRET}))
    assert not run.wait(60).succeeded
    agent.stop()
    text = agent.log.read_text("utf-8")
    assert f"WARNING/MainProcess] operation bad of run {run.id} failed: tool 'fail'" in text
    assert "ready." not in text
    assert "s3cr3t" not in text
