"""``omx run`` may go away, ``omx resume`` takes up what is not done, and Ctrl-C asks before it cancels."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

OMX = Path(sys.executable).with_name("omx")


def test_a_run_goes_on_without_its_producer(system, gate):
    started = system.start("run", system.graph(gate.graph()), "--json")
    started.until(lambda: gate.callers)
    started.until(lambda: "\nrun " in f"\n{started.err}")
    run = f"\n{started.err}".partition("\nrun ")[2].split()[0]
    started.send(signal.SIGKILL)
    started.process.wait()
    assert system.omx("status", run, "--json").json["state"] == "running"
    watching = system.start("watch", run, "--json")
    gate.open()
    assert '"state": "succeeded"' in watching.end().out.splitlines()[-1]
    assert system.omx("result", run, "--json").json["state"] == "succeeded"


def _called(gate):
    """Wait until the gate's first tool was called."""
    deadline = time.monotonic() + 90
    while not gate.callers:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_resume_does_what_was_cut_off_and_shows_the_run(system, gate):
    run = system.omx("run", system.graph(gate.graph()), "--detach").out.strip()
    _called(gate)
    assert system.omx("cancel", run).code == 0
    shown = system.omx("status", run, "--json").json["operations"]
    assert {one["state"] for one in shown.values()} == {"cancelled"}
    gate.open()
    resumed = system.omx("resume", run, "--json")
    assert (resumed.code, resumed.json["state"]) == (0, "succeeded")
    assert resumed.json["operations"]["wait"]["attempts"] == 2
    assert resumed.json == system.omx("result", run, "--json").json
    assert len(gate.callers) == 3


def test_what_may_have_been_done_is_kept_or_retried_as_the_user_says(system, gate):
    run = system.omx("run", system.graph(gate.graph("change")), "--detach").out.strip()
    _called(gate)
    system.omx("cancel", run)
    gate.open()
    kept = system.omx("resume", run)
    assert (kept.code, kept.out) == (2, "")
    assert "--unknown retry" in kept.err
    retried = system.omx("resume", run, "--unknown", "retry")
    assert retried.code == 0
    assert "through" in retried.out


def test_resume_detached_returns_at_once(system, gate):
    run = system.omx("run", system.graph(gate.graph()), "--detach").out.strip()
    _called(gate)
    system.omx("cancel", run)
    assert system.omx("resume", run, "--detach").out.strip() == run
    gate.open()
    assert system.omx("result", run).code == 0


def test_a_run_that_goes_on_or_succeeded_cannot_be_resumed(system, gate):
    run = system.omx("run", system.graph(gate.graph()), "--detach").out.strip()
    running = system.omx("resume", run)
    assert (running.code, running.out) == (2, "")
    assert "is running" in running.err
    gate.open()
    system.omx("result", run)
    assert "has succeeded" in system.omx("resume", run).err


def test_a_run_whose_timeout_is_over_is_cancelled_and_says_so(system, gate):
    ended = system.omx("run", system.graph(gate.graph()), "--json", "--timeout", "0.5")
    assert (ended.code, ended.json["state"]) == (1, "cancelled")
    assert ended.json["error"]["kind"] == "timeout"
    assert "its timeout of 0.5 s was over" in ended.err
    assert "its timeout" in system.omx("status", ended.json["run"]).out


class Terminal:
    """``omx`` on a terminal on which one can type."""

    def __init__(self, place, *words):
        self._ours, theirs = pty.openpty()
        environ = {**place.environ(), "TERM": "xterm"}
        self.process = subprocess.Popen(
            [OMX, *map(str, words)],
            cwd=place.folder,
            env=environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.shown = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        while piece := self._piece():
            self.shown += piece.decode(errors="replace")

    def _piece(self):
        try:
            return os.read(self._ours, 65536)
        except OSError:
            return b""

    def until(self, condition):
        deadline = time.monotonic() + 90
        while not condition():
            assert time.monotonic() < deadline, self.shown
            threading.Event().wait(0.01)

    def type(self, text):
        os.write(self._ours, text.encode())

    def end(self):
        code = self.process.wait(60)
        self._reader.join()
        os.close(self._ours)
        return code


QUESTION = "cancel run"


@pytest.mark.parametrize("answer", ["y\n", "\n", "ctrl-c"])
def test_ctrl_c_asks_and_cancels(system, gate, answer):
    terminal = Terminal(system, "run", system.graph(gate.graph()))
    terminal.until(lambda: gate.callers)
    terminal.process.send_signal(signal.SIGINT)
    terminal.until(lambda: QUESTION in terminal.shown)
    if answer == "ctrl-c":
        terminal.process.send_signal(signal.SIGINT)
    else:
        terminal.type(answer)
    assert terminal.end() == 1
    assert " cancelled in " in terminal.shown


def test_a_run_can_go_on_after_ctrl_c(system, gate):
    terminal = Terminal(system, "run", system.graph(gate.graph()))
    terminal.until(lambda: gate.callers)
    terminal.process.send_signal(signal.SIGINT)
    terminal.until(lambda: QUESTION in terminal.shown)
    terminal.type("n\n")
    gate.open()
    assert terminal.end() == 0
    assert " succeeded in " in terminal.shown


def test_a_run_can_be_left_running_at_ctrl_c(system, gate):
    terminal = Terminal(system, "run", system.graph(gate.graph()))
    terminal.until(lambda: gate.callers)
    terminal.process.send_signal(signal.SIGINT)
    terminal.until(lambda: QUESTION in terminal.shown)
    terminal.type("l\n")
    assert terminal.end() == 0
    run = terminal.shown.partition("omx watch ")[2].partition("`")[0]
    assert system.omx("status", run, "--json").json["state"] == "running"
    gate.open()
    assert system.omx("result", run).code == 0
