"""``omx run`` and what looks at runs, on a system that is up: the interfaces that others build on."""

from __future__ import annotations

import json
import signal
import time

import pytest

STATES = {"waiting", "running", "succeeded", "failed", "skipped", "cancelled", "unknown"}
OPERATION = {"state", "attempts", "agent", "started", "finished", "text", "structured", "error"}

BRIEF = """
name: notes-brief
inputs: {folder: {default: "."}}
operations:
  - id: list
    server: notes
    tool: list_notes
    arguments: {folder: "${inputs.folder}"}
    priority: P1
  - id: now
    server: time
    tool: get_current_time
    arguments: {timezone: UTC}
    needs: [list]
  - id: each
    server: notes
    tool: read_note
    foreach: "${list.structured.notes}"
    arguments: {folder: "${inputs.folder}", name: "${item.name}"}
    on_failure: continue
  - id: brief
    server: notes
    tool: write_brief
    requires: [documentation_review]
    arguments: {text: "${now.text}: ${each[*].text}", count: "${length(each)}"}
"""
ZONE = """
name: zone
inputs: {zone: {type: string}}
operations:
  - {id: now, server: time, tool: get_current_time, arguments: {timezone: "${inputs.zone}"}}
  - {id: after, server: time, tool: get_current_time, arguments: {timezone: UTC}, needs: [now]}
  - {id: aside, server: time, tool: get_current_time, arguments: {timezone: UTC}}
"""


@pytest.fixture(scope="session")
def brief(system):
    """The run of the example graph, made once."""
    return system.omx("run", system.graph(BRIEF, "brief.yaml"), "--json")


def test_json_is_one_line_with_the_run_and_all_its_operations(brief):
    began = time.time()
    assert brief.code == 0
    assert brief.json.keys() == {"run", "state", "seconds", "operations"}
    assert brief.json["state"] == "succeeded"
    assert set(brief.json["operations"]) == {"list", "now", "each", "brief"}
    listed = brief.json["operations"]["list"]
    assert listed.keys() == OPERATION
    assert (listed["state"], listed["attempts"], listed["error"]) == ("succeeded", 1, None)
    assert began - 3600 < listed["started"] <= listed["finished"] <= time.time()
    assert json.loads(listed["text"]) == listed["structured"]


def test_a_foreach_is_a_list_with_one_object_for_each_item(brief):
    each = brief.json["operations"]["each"]
    names = [note["name"] for note in brief.json["operations"]["list"]["structured"]["notes"]]
    assert [one["structured"]["name"] for one in each] == names
    assert all(one.keys() == OPERATION for one in each)


def test_without_json_the_answer_is_printed_and_nothing_else(system):
    done = system.omx("run", system.graph(ZONE, "zone.yaml"), "-i", "zone=Asia/Tokyo")
    assert done.code == 0
    assert done.out.count('"timezone": "UTC"') == 2
    assert "succeeded" in done.err


def test_a_failed_operation_skips_what_needs_it_and_makes_the_exit_code_1(system):
    done = system.omx("run", system.graph(ZONE, "zone.yaml"), "-i", "zone=Nowhere", "--json")
    operations = done.json["operations"]
    assert done.code == 1
    assert done.json["state"] == "failed"
    assert {name: one["state"] for name, one in operations.items()} == {
        "now": "failed",
        "after": "skipped",
        "aside": "succeeded",
    }
    assert operations["now"]["error"].keys() == {"kind", "message"}
    assert operations["now"]["error"]["kind"] == "tool"
    assert "operation 'now' failed: " in done.err
    assert f"omx resume {done.json['run']}" in done.err


def test_a_foreach_over_what_is_no_list_fails_as_a_single_object(system):
    graph = BRIEF.replace("${list.structured.notes}", "${list.text}").replace("continue", "fail")
    done = system.omx("run", system.graph(graph, "nolist.yaml"), "--json")
    assert done.code == 1
    assert done.json["operations"]["each"]["error"]["kind"] == "foreach"


def test_detach_prints_the_id_and_result_waits_for_the_end(system, gate):
    submitted = system.omx("run", system.graph(gate.graph()), "--detach")
    run = submitted.out.strip()
    assert submitted.code == 0
    assert system.omx("status", run, "--json").json["state"] == "running"
    assert "running for " in system.omx("status", run).out
    gate.open()
    waited = system.omx("result", run, "--json")
    assert (waited.code, waited.json["run"], waited.json["state"]) == (0, run, "succeeded")


def test_detach_with_json_is_an_object_with_the_id(system, gate):
    gate.open()
    submitted = system.omx("run", system.graph(gate.graph()), "--detach", "--json")
    assert submitted.json.keys() == {"run"}
    assert system.omx("result", submitted.json["run"]).code == 0


def test_a_foreach_is_one_object_until_its_items_are_known(system, gate):
    first = json.loads(gate.graph())["operations"][0]
    each = {
        "id": "each",
        "server": "time",
        "tool": "get_current_time",
        "foreach": "${[wait.text, wait.text]}",
        "arguments": {"timezone": "UTC"},
    }
    graph = system.graph(json.dumps({"name": "later", "operations": [first, each]}))
    run = system.omx("run", graph, "--detach").out.strip()
    assert system.omx("status", run, "--json").json["operations"]["each"]["state"] == "waiting"
    gate.open()
    assert len(system.omx("result", run, "--json").json["operations"]["each"]) == 2


def test_watch_tells_every_change_from_the_beginning_to_the_end(system, brief):
    told = system.omx("watch", brief.json["run"], "--json")
    changes = [json.loads(line) for line in told.out.splitlines()]
    assert told.code == 0
    assert all(change.keys() == {"at", "operation", "state"} for change in changes)
    assert {change["state"] for change in changes} <= STATES
    assert (changes[-1]["operation"], changes[-1]["state"]) == (None, "succeeded")
    assert [c["state"] for c in changes if c["operation"] == "list"] == ["running", "succeeded"]


def test_cancel_ends_what_waits_and_result_exits_1(system, gate):
    run = system.omx("run", system.graph(gate.graph()), "--detach").out.strip()
    cancelled = system.omx("cancel", run, "--json")
    assert (cancelled.code, cancelled.json) == (0, {"run": run, "state": "cancelled"})
    ended = system.omx("result", run, "--json")
    assert (ended.code, ended.json["state"]) == (1, "cancelled")
    assert ended.json["operations"]["then"]["state"] == "cancelled"


def test_cancelling_a_run_that_is_over_says_so(system, brief):
    done = system.omx("cancel", brief.json["run"])
    assert (done.code, done.out) == (0, f"run {brief.json['run']} is over already: succeeded\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_run_is_cancelled_and_exits_1_with_its_result(system, gate, number):
    started = system.start("run", system.graph(gate.graph()), "--json")
    started.until(lambda: gate.callers)
    started.send(number)
    ended = started.end()
    assert ended.code == 1
    assert ended.json["state"] == "cancelled"
    assert system.omx("status", ended.json["run"], "--json").json["state"] == "cancelled"


def test_two_runs_at_once_both_succeed(system):
    graph = system.graph(BRIEF, "brief.yaml")
    both = [system.start("run", graph, "--json") for _ in range(2)]
    ended = [started.end() for started in both]
    assert [one.code for one in ended] == [0, 0]
    assert ended[0].json["run"] != ended[1].json["run"]


def test_runs_lists_the_newest_first(system, brief):
    listed = system.omx("runs", "--json", "--most", "50").json
    keys = {"run", "name", "state", "created", "seconds", "total", "open"}
    assert all(run.keys() == keys for run in listed)
    assert brief.json["run"] in [run["run"] for run in listed]
    assert [run["created"] for run in listed] == sorted(
        (r["created"] for r in listed), reverse=True
    )
    assert system.omx("runs").out.splitlines()[0].split()[:2] == ["run", "state"]


@pytest.mark.parametrize("command", ["status", "watch", "result", "cancel", "resume"])
def test_a_run_that_is_not_there_is_exit_code_2(system, command):
    answer = system.omx(command, "nothing-1")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no run 'nothing-1'" in answer.err


def test_of_many_answers_and_failures_the_first_few_are_shown(system):
    call = "{{id: o{n}, server: time, tool: get_current_time, arguments: {{timezone: {zone}}}}}"
    zones = {number: "Nowhere" if number < 25 else "UTC" for number in range(50)}
    calls = "".join(f"  - {call.format(n=n, zone=zone)}\n" for n, zone in zones.items())
    many = f"name: many\noperations:\n{calls}"
    ran = system.omx("run", system.graph(many, "many.yaml"))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("omx: operation ") == 20
    assert "and 5 more failures: `omx result " in ran.err
    good = system.omx("run", system.graph(many.replace("Nowhere", "UTC"), "good.yaml"))
    assert good.code == 0
    assert good.out.count('"timezone"') == 20
    assert "and 30 more answers: `omx result " in good.err
