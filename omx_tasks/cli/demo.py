"""``omx demo``: the main job, on this machine, with real servers; nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from omx_tasks.api import submit_graph
from omx_tasks.cli.output import duration, notices, results, say
from omx_tasks.cli.present import failures, show_run
from omx_tasks.cli.progress import calls_of, progress_of, show_all
from omx_tasks.deploy.system import SHORT_GRACE, LocalSystem
from omx_tasks.deploy.temporary import temporary_folder
from omx_tasks.errors import ConfigurationError, OmxError
from omx_tasks.examples.sequence import in_sequence
from omx_tasks.graph.model import Graph, bind_inputs
from omx_tasks.graph.plan import Plan, compile_plan
from omx_tasks.graph.schedule import bound
from omx_tasks.home import Home
from omx_tasks.mcp import config
from omx_tasks.runs.view import RunView
from omx_tasks.store.client import Store

AGENTS, SLOTS = 2, 32
#: How often each way is run; the medians are shown.
ROUNDS = 5
_MODULES = {"time": "mcp_server_time", "git": "mcp_server_git", "notes": "omx_tasks.examples.notes"}


@click.command()
def demo() -> None:
    """Run an example over three real MCP servers.

    The cluster and the agents are its own, and nothing is left afterwards.
    """
    began = time.monotonic()
    missing = [name for name, module in _MODULES.items() if find_spec(module) is None]
    if missing:
        raise ConfigurationError(
            f"the demo needs the servers {', '.join(missing)}: pip install 'omx-tasks[demo]'"
        )
    with temporary_folder("omx-demo-") as folder:
        _in_folder(folder)
    say(f"everything is stopped and removed; the demo took {duration(time.monotonic() - began)}")


def _in_folder(folder: Path) -> None:
    repository = _make_repository(folder / "garden")
    servers = config.load(_write_servers(folder, repository))
    say(f"starting a system for the demo: {AGENTS} agents, servers {', '.join(servers.servers)}")
    system = LocalSystem(Home(folder / "omx"), servers, os.environ, AGENTS, SLOTS, say, SHORT_GRACE)
    try:
        system.start()
        _show(Store(system.url), {"repository": str(repository), "topic": "water"})
    finally:
        say("stopping")
        system.stop()


def _show(store: Store, given: dict[str, Any]) -> None:
    text = (resources.files("omx_tasks.examples") / "demo.yaml").read_text("utf-8")
    graph = Graph.parse(text, "demo.yaml")
    plan, inputs = compile_plan(graph), bind_inputs(graph, given)
    submitted = submit_graph(store, graph, given, source="demo.yaml")
    say(f"run {submitted.id}: {len(plan.steps)} operations")
    show_all(progress_of(calls_of(plan)), submitted.changes())
    view = _succeeded(submitted.status())
    show_run(results(), view)
    _show_answer(view)
    _show_comparison(store, plan, view, graph, given, inputs)


def _succeeded(view: RunView) -> RunView:
    if not view.succeeded:
        raise OmxError("the demo's run did not succeed: " + "; ".join(failures(view)))
    return view


def _show_answer(view: RunView) -> None:
    brief = view.operations["brief"]
    assert not isinstance(brief, list)
    results().rule("the answer", style="dim")
    text = Path(brief.structured["path"]).read_text("utf-8").strip()
    results().print(text, markup=False, soft_wrap=True)
    results().rule(style="dim")


def _show_comparison(
    store: Store,
    plan: Plan,
    view: RunView,
    graph: Graph,
    given: dict[str, Any],
    inputs: dict[str, Any],
) -> None:
    """Run both ways in turn and print the medians beside the graph's own bound."""
    chain = in_sequence(plan, view, inputs)
    say(f"measuring: {ROUNDS} times as a graph and one after the other, in turn")
    together, alone = [view], []
    for _ in range(ROUNDS):
        alone.append(_succeeded(submit_graph(store, chain, {}).wait(120)))
        together.append(_succeeded(submit_graph(store, graph, given).wait(120)))
    fast, slow = _median(together[1:]), _median(alone)
    calls = len(chain.operations)
    least = bound(plan, _durations(fast), AGENTS * SLOTS)
    table = Table(
        title=f"{calls} calls, median of {ROUNDS}", title_justify="left", header_style="dim"
    )
    for title in ("", "seconds", ""):
        table.add_column(title, justify="right" if title == "seconds" else "left")
    table.add_row("as a graph", f"{fast.seconds:.3f}", "submitted to done")
    table.add_row(
        "one after the other", f"{slow.seconds:.3f}", "the same calls, the same warm servers"
    )
    table.add_row("the graph's bound", f"{least:.3f}", "its longest path of calls, no overhead")
    table.add_row("[bold]speed-up[/]", f"[bold]{slow.seconds / fast.seconds:.1f}×[/]", "")
    results().print(table)
    notices.file.flush()


def _median(views: list[RunView]) -> RunView:
    return sorted(views, key=lambda view: view.seconds)[len(views) // 2]


def _durations(view: RunView) -> dict[str, Any]:
    return {
        name: [one.seconds or 0.0 for one in found]
        if isinstance(found, list)
        else found.seconds or 0.0
        for name, found in view.operations.items()
    }


# --- what the demo works on -------------------------------------------------------------------------


def _write_servers(folder: Path, repository: Path) -> Path:
    """Write the server file: three programs of this very installation."""
    arguments = {"notes": [str(repository), "--out", str(folder)]}
    servers = {
        name: {"command": sys.executable, "args": ["-m", module, *arguments.get(name, [])]}
        for name, module in _MODULES.items()
    }
    path = folder / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}, indent=2), "utf-8")
    return path


def _make_repository(folder: Path) -> Path:
    """Make a git repository with one commit for each of the sample notes."""
    folder.mkdir()
    _git(folder, "init", "--quiet", "--initial-branch=main")
    source = resources.files("omx_tasks.examples") / "data"
    for note in sorted(source.iterdir(), key=lambda entry: entry.name):
        (folder / note.name).write_text(note.read_text("utf-8"), "utf-8")
        _git(folder, "add", note.name)
        _git(
            folder, "commit", "--quiet", "-m", f"Write down what we know of {Path(note.name).stem}"
        )
    return folder


def _git(folder: Path, *arguments: str) -> None:
    program = shutil.which("git")
    if program is None:
        raise ConfigurationError("the demo needs git on the PATH")
    who = {"GIT_AUTHOR_NAME": "gardener", "GIT_AUTHOR_EMAIL": "gardener@example.invalid"}
    also = {"GIT_COMMITTER_NAME": "gardener", "GIT_COMMITTER_EMAIL": "gardener@example.invalid"}
    environ = {**os.environ, **who, **also, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run([program, "-C", str(folder), *arguments], check=True, env=environ, timeout=30)
