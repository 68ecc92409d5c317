"""What a person reads: help, tables, trees, live progress on a terminal; and what a pipe gets."""

from __future__ import annotations

import fcntl
import inspect
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import click
import pytest

from omx_tasks.cli import main
from omx_tasks.cli.output import duration, first_line

GRAPH = """
name: two
operations:
  - {id: list, server: notes, tool: list_notes}
  - id: each
    server: notes
    tool: read_note
    foreach: "${list.structured.notes}"
    arguments: {name: "${item.name}"}
"""

OMX = Path(sys.executable).with_name("omx")


def on_a_terminal(place, *words, columns=60, until=None):
    """Run ``omx`` on a terminal of so many columns; return the exit code and all that was written.

    Where it runs ``until`` it has written something, Ctrl-C follows.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environ = {**place.environ(), "TERM": "xterm"}
    process = subprocess.Popen(
        [OMX, *map(str, words)],
        cwd=place.folder,
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        written += piece
        if until is not None and until in written.decode(errors="replace"):
            process.send_signal(signal.SIGINT)
            until = None
    os.close(ours)
    return process.wait(60), written.decode()


def test_without_a_command_the_help_is_shown(place):
    shown = place.omx()
    assert shown.code == 0
    assert re.search(r"First steps:\n  demo .*\n  run .*\n  up .*\n  doctor .*\n  down ", shown.out)
    assert shown.out == place.omx("--help").out


def test_every_command_is_listed_with_the_first_sentence_of_its_own_help(place):
    shown = place.omx("--help").out
    context = click.Context(main.cli)
    for commands in main.SECTIONS.values():
        for name, (_, said) in commands.items():
            command = main.cli.get_command(context, name)
            assert inspect.cleandoc(command.help).partition("\n")[0] == said
            assert re.search(rf"^  {name} +{re.escape(said)}$", shown, re.MULTILINE)


def test_a_shell_completes_commands(place):
    words = {"COMP_WORDS": "omx qu", "COMP_CWORD": "1", "_OMX_COMPLETE": "bash_complete"}
    assert place.omx(**words).out == "plain,queues\n"
    words |= {"COMP_WORDS": "omx queues de", "COMP_CWORD": "2"}
    assert place.omx(**words).out == "plain,dead\n"
    words |= {"COMP_WORDS": "omx agents te"}
    assert place.omx(**words).out == "plain,templates\n"
    assert "_OMX_COMPLETE=bash_complete" in place.omx("completion", SHELL="/usr/bin/bash").out
    assert "bash, zsh, fish" in place.omx("completion", SHELL="/bin/sh").err


@pytest.mark.parametrize("command", ["tools", "agents", "runs"])
def test_a_table_in_a_pipe_has_one_line_a_row_and_no_trailing_blanks(system, command):
    rows = system.omx(command).out.splitlines()
    assert len(rows) > 1 or command == "runs"
    assert all(row == row.rstrip() for row in rows)


def test_a_table_on_a_terminal_fits_its_width(system):
    _, shown = on_a_terminal(system, "tools", "notes", columns=70)
    assert "…" in shown
    assert "list_notes" in shown
    _, shown = on_a_terminal(system, "events", columns=70)
    assert all(len(line) <= 70 for line in click.unstyle(shown).splitlines())


def test_the_progress_of_a_run_is_live_on_a_terminal(system):
    code, shown = on_a_terminal(system, "run", system.graph(GRAPH, "two.yaml"))
    assert code == 0
    assert "✔" in shown
    assert "notes.read_note ×8" in shown


def test_the_progress_of_a_run_in_a_pipe_is_a_line_for_each_end(system):
    done = system.omx("run", system.graph(GRAPH, "two.yaml"))
    assert "[1/2] succeeded list notes.list_notes" in done.err
    assert "succeeded each[7] notes.read_note" in done.err


def test_tools_shows_what_may_be_left_out_in_brackets(system):
    shown = system.omx("tools", "notes")
    assert "name [folder]" in shown.out
    assert "tool (may write)" in shown.out


def test_tools_that_the_server_file_calls_read_only_are_shown_as_such(system, place):
    for one in (system, place):
        kinds = re.findall(
            r"^gate +(tool|tool \(may write\)) +(\w+) ", one.omx("tools", "gate").out, re.M
        )
        assert kinds == [("tool", "look"), ("tool (may write)", "change")]


def test_tools_json_has_each_server_and_a_warning_for_the_broken_one(system):
    shown = system.omx("tools", "--json")
    assert shown.json.keys() == {"notes", "time", "gate"}
    assert "omx: warning: server 'broken'" in shown.err


def test_tools_of_the_broken_server_says_why(system):
    refused = system.omx("tools", "broken")
    assert refused.code == 2
    assert "no licence" in refused.err


def test_tools_of_an_unknown_server_names_the_nearest(system):
    refused = system.omx("tools", "note")
    assert refused.code == 2
    assert "Did you mean 'notes'?" in refused.err


def test_tools_and_call_work_without_a_system(place, gate):
    gate.open()
    assert place.omx("tools", "--json").json.keys() == {"gate"}
    words = ("call", "gate", "look", f"gate={gate.path}", f"calls={gate.calls}", "--json")
    assert place.omx(*words).json == {"text": "through", "structured": None, "error": None}
    refused = place.omx("call", "gate", "lok")
    assert (refused.code, refused.err) == (
        2,
        "omx: server 'gate' has no tool 'lok'. Did you mean 'look'?\n",
    )


def test_call_prints_what_the_tool_says(system):
    done = system.omx("call", "notes", "search_notes", "word=${water}")
    assert done.code == 0
    assert '"word": "${water}"' in done.out


def test_call_of_a_failing_tool_exits_1_with_its_error(system):
    failed = system.omx("call", "time", "get_current_time", "timezone=Nowhere", "--json")
    assert (failed.code, failed.json["error"]["kind"]) == (1, "tool")


def test_call_of_an_unknown_tool_is_refused_as_without_a_graph(system):
    refused = system.omx("call", "time", "get_curent_time")
    assert refused.code == 2
    assert refused.err.startswith("omx: server 'time' has no tool 'get_curent_time'.")


def test_status_is_a_table_of_operations(system):
    run = system.omx("run", system.graph(GRAPH, "two.yaml"), "--json").json["run"]
    lines = system.omx("status", run).out.splitlines()
    assert lines[0].startswith(f"two {run}  succeeded in ")
    assert lines[1].split() == ["operation", "agent", "call", "result"]
    assert lines[2].startswith("✔  list")


def test_check_and_plan_tell_what_a_graph_comes_to(system):
    graph = system.graph(GRAPH, "two.yaml")
    assert system.omx("check", graph, "--json").json == {
        "graph": "two",
        "operations": 2,
        "servers": ["notes"],
    }
    assert "2 operations on notes, nothing wrong" in system.omx("check", graph).out
    planned = system.omx("plan", graph, "--json").json
    assert planned.keys() == {"graph", "operations", "groups", "joins", "batches"}
    assert planned["operations"]["each"]["needs"] == ["list"]
    assert system.omx("plan", graph).out.splitlines()[1].startswith("list")
    assert "in each  server:notes" in system.omx("plan", graph).out
    assert system.omx("plan", graph, "--canvas").out.startswith("group(list)")
    both = system.omx("plan", graph, "--dot", "--mermaid")
    assert (both.code, both.out) == (2, "")
    assert "give one of --canvas, --mermaid, --dot and --json" in both.err


def test_agents_json_has_what_each_offers(system):
    for agent in system.omx("agents", "--json").json:
        assert agent["servers"] == ["gate", "notes", "time"]
        assert "broken" in agent["failed"]
        assert agent["warm"] is False  # as one server is broken
        assert agent["pss"] > 2**20


def test_errors_of_agents_are_counted(system):
    def errors():
        return sum(agent["errors"] for agent in system.omx("agents", "--json").json)

    before = errors()
    text = (
        "{name: bad, operations: [{id: x, server: notes, tool: read_note, arguments: {name: no}}]}"
    )
    assert system.omx("run", system.graph(text, "bad.yaml")).code == 1
    deadline = time.monotonic() + 60
    while errors() == before:
        assert time.monotonic() < deadline


def test_agents_fit_a_terminal_once_and_live(system):
    once, live = (
        on_a_terminal(system, "agents", columns=80),
        on_a_terminal(system, "agents", "--watch", columns=80, until="leads since"),
    )
    for code, written in (once, live):
        assert code == 0
        moved = re.sub(r"\x1b\[\d*[AK]", "\n", written)
        lines = re.sub(r"\x1b\[[\d;?]*[a-z]", "", moved).splitlines()
        assert not [line for line in lines if len(line) > 80 and not line.startswith("omx: ")]
        agents = [line.split() for line in lines if line.startswith("agent1 ")]
        assert agents[0][1] == "everything"
        assert agents[0][-2:] == ["3/4", "warm"]
        (below, *_) = [line for line in lines if "notes 20" in line]
        assert re.fullmatch(
            r"  notes 2\S+ \d+ (s|min|h) · time 2\S+ \d+ (s|min|h) · gate 2.*", below
        )
    assert "broken (broken)" in once[1]


def test_one_agent_is_shown_in_full_by_its_short_name(system):
    shown = system.omx("agents", "agent1")
    assert shown.code == 0
    assert "operations  " in shown.out
    assert re.search(r"sessions    \d+ opened, 0 evicted, 0 cold starts, open ", shown.out)
    assert [line.split()[0] for line in shown.out.splitlines()[-6:-1]] == [
        "server",
        "notes",
        "time",
        "gate",
        "broken",
    ]
    assert shown.out.splitlines()[-1].startswith("broken: server 'broken' ")
    told = system.omx("agents", "agent1", "--json").json
    assert told["name"].startswith("agent1@")
    wrong = system.omx("agents", "agent11")
    assert (wrong.code, wrong.out) == (2, "")
    assert "there is no agent 'agent11'. Did you mean 'agent1'?" in wrong.err


def test_coordinators_are_a_list_of_their_own(system):
    (one,) = system.omx("coordinators", "--json").json
    assert one["leads"] is True
    assert one["name"] in system.omx("coordinators", "--duties").out


def test_a_reader_that_goes_away_is_no_traceback(system):
    command = f"{OMX} tools | true"
    done = subprocess.run(
        ["sh", "-c", command],
        env=system.environ(),
        cwd=system.folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, ""), (0.0032, "3.2 ms"), (0.42, "0.42 s"), (75.3, "75 s")],
)
def test_durations_are_short(seconds, shown):
    assert duration(seconds) == shown


def test_a_long_text_is_cut_to_one_line():
    assert first_line("a\n b " + "c" * 300, 20) == "a b " + "c" * 15 + "…"
