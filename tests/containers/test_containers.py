"""The whole product in containers: built, up, a graph, scaled under load, struck, healed, down.

Prints each step's time (``pytest -s``). A ledger outside of the containers says that nothing is lost, and that no
write is done twice.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from engine import Engine, NoEngineError, engine, start_base, start_wheels
from stack import MINUTES, Stack

pytestmark = pytest.mark.timeout(900)

BASE, PROXY = "python:3.11-slim-bookworm", "haproxy:2.8"
GRAPH = """
name: notes
operations:
  - {id: now, server: time, tool: get_current_time, arguments: {timezone: UTC}}
  - {id: list, server: notes, tool: list_notes}
  - {id: read, server: notes, tool: read_note, foreach: "${list.structured.notes}", arguments: {name: "${item.name}"}}
  - {id: brief, server: notes, tool: write_brief,
     arguments: {count: "${length(read)}", text: "At ${now.structured.datetime}: ${read[0].text}"}}
"""
#: Calls that are made between two steps.
SOME = 60


@contextmanager
def step(name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{name:<58}{time.perf_counter() - began:6.1f} s", flush=True)


def test_nothing_is_lost_while_containers_come_and_go(
    tmp_path: Path, until: Callable[..., None]
) -> None:
    try:
        with engine(until) as made:
            stack = Stack(_folder(tmp_path), made, until)
            _build(stack, made)
            _come_and_go(stack)
    except NoEngineError as error:
        pytest.skip(str(error))


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def _build(stack: Stack, made: Engine) -> None:
    base = stack.folder.parent / "base.tar"
    print()
    with step("base image's files, wheels"):
        wheels = start_wheels(stack.compose_folder, stack.compose_folder / "wheels")
        for process in (start_base(base), *wheels):
            assert process.wait(MINUTES) == 0, process.args
    with step("import the base image"):
        made.run("import", str(base), BASE, seconds=MINUTES)
        made.run("tag", BASE, PROXY)
    with step("build, without a network"):
        stack.build()
    print(f"  {made.run('image', 'ls', '--format', '{{.Repository}} {{.Size}}').split()}")


def _come_and_go(stack: Stack) -> None:
    stack.make_secrets()
    with step("up: six nodes, one agent, coordinator, proxy"):
        stack.up(1)
    try:
        _see_no_secret(stack)
        with step("a graph, from within a container"):
            _run_a_graph(stack)
        with step("Flower behind the proxy, with its password only"):
            _ask_flower(stack)
        _scale(stack)
        _strike(stack)
    finally:
        with step("down"):
            stack.compose("--profile", "full", "down", "--volumes")


def _run_a_graph(stack: Stack) -> None:
    out = stack.compose("exec", "-T", "agent", "omx", "run", "/dev/stdin", "--json", given=GRAPH)
    result = json.loads(out)
    assert result["state"] == "succeeded", result
    assert result["operations"]["brief"]["structured"]["count"] == 8


def _ask_flower(stack: Stack) -> None:
    stack.compose("--profile", "full", "up", "-d", "--no-build", "--no-recreate", "flower")
    user = (stack.compose_folder / "secrets" / "flower").read_text()
    stack.until(lambda: stack.status("http://127.0.0.1:5555/workers", user) == 200, MINUTES)
    assert stack.status("http://127.0.0.1:5555/workers", "omx:guessed") == 401


def _scale(stack: Stack) -> None:
    with stack.load() as ledger:
        stack.moves(SOME)
        for count in (6, 2):
            with step(f"scale to {count} under load"):
                stack.up(count, "agent")
            stack.moves(SOME)
    print(f"  {ledger}")
    assert ledger.operations > 2 * SOME
    assert (ledger.lost, ledger.repeated_writes, ledger.unknown_writes) == ([], [], 0)


def _strike(stack: Stack) -> None:
    with stack.load() as ledger:
        stack.moves(SOME)
        with step("a node killed and its volume removed, healed under load"):
            _replace_a_node(stack, "node-7000")
        stack.moves(SOME)
        with step("an agent killed; its operations come back"):
            stack.engine.run("kill", "--signal", "KILL", stack.containers("agent")[0])
            stack.moves(SOME)
        with step("an agent told to stop brings its operations to their end"):
            _stop_an_agent(stack)
        with step("up again, with three agents"):
            stack.up(3)
    print(f"  {ledger}")
    assert ledger.operations > 2 * SOME
    assert (ledger.lost, ledger.repeated_writes) == ([], [])


def _replace_a_node(stack: Stack, name: str) -> None:
    (node,) = stack.containers(name)
    stack.engine.run("kill", node)
    stack.engine.run("rm", node)
    stack.engine.run("volume", "rm", f"omx_{name}")
    stack.up(2)
    healed = f"{name}:{name[-4:]} is a replica of"
    stack.until(lambda: healed in stack.compose("logs", "cluster"), MINUTES)


def _stop_an_agent(stack: Stack) -> None:
    agent = stack.containers("agent")[0]
    stack.engine.run("stop", agent, seconds=MINUTES)
    assert stack.engine.run("inspect", "--format", "{{.State.ExitCode}}", agent).strip() == "0"


def _see_no_secret(stack: Stack) -> None:
    """Nobody who can look at containers or processes sees the password."""
    secret = (stack.compose_folder / "secrets" / "cluster").read_text()
    ids = stack.compose("ps", "--quiet").split()
    assert len(ids) > 8
    assert secret not in stack.engine.run("inspect", *ids)
    processes = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True)
    assert "workers.coordinator" in processes.stdout
    assert secret not in processes.stdout
