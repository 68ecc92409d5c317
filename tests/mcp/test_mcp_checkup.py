"""What is said of a server that is well, and of each way in which one is not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from omx_tasks.mcp import checkup
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.hints import Hints


@pytest.fixture
def looked(run, tmp_path: Path):
    def looked(command: str = sys.executable, *args: str, **keys):
        keys = {"transport": "stdio", "command": command, "args": args, **keys}
        config = ServerConfig("it", tmp_path / "mcp.json", **keys)
        return run(checkup.look(config, 20, os.environ))

    return looked


def test_a_server_that_is_well_is_measured(run, script):
    found = run(checkup.look(script("jobs"), 20, os.environ))
    assert found.well
    assert found.cold > found.warm > 0
    assert found.tools > 0
    assert (found.processes, found.protocol is not None) == (1, True)
    assert found.memory > 2**20


@pytest.mark.parametrize(
    ("command", "args", "keys", "wrong", "remedy"),
    [
        ("pyhton3", (), {}, "no such command", "did you mean 'python3'?"),
        (sys.executable, ("-m", "no_such"), {}, "exited with status 1", "install no_such for"),
        (sys.executable, ("no.py",), {}, "exited with status 2", "no.py is the right path"),
        (sys.executable, ("-c", "raise SystemExit('set A_KEY')"), {}, "status 1", "give it A_KEY"),
        ("sh", ("-c", "kill -9 $$"), {}, "killed by SIGKILL", "out of memory"),
        ("ls", (), {"cwd": "/no/where"}, "is no folder", "make that folder"),
        ("x", ("${NOPE_}",), {}, "args[0]: ${NOPE_} has no value", "set the environment variable"),
        ("", (), {"transport": "http", "url": "http://127.0.0.1:9/"}, "cannot be reached", "runs"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(looked, command, args, keys, wrong, remedy):
    found = looked(command, *args, **keys)
    assert not found.well
    assert wrong in found.wrong
    assert remedy in f"{found.wrong} {found.remedy}"
    assert found.remedy != ""


def test_a_launcher_without_its_interpreter_is_named(looked, tmp_path: Path):
    launcher = tmp_path / "npx"
    launcher.write_text("#!/bin/sh\nexit 127\n")
    launcher.chmod(0o755)
    found = looked("npx", "x", env={"PATH": str(tmp_path)})
    assert "npx needs node" in found.remedy


def test_tools_of_the_file_that_a_server_has_not_are_noted(run, script):
    config = script("jobs", hints=Hints(read_only=frozenset({"holdd"})))
    found = run(checkup.look(config, 20, os.environ))
    assert any("holdd" in note for note in found.notes)
