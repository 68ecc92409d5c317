"""What it is worth to open servers before runs need them: three graphs whose later operations use servers not yet open.

=========== =======================================================================
``none``    every server is opened by its first call
``minimum`` the server with which the graphs begin is always open, nothing else
``planned`` that one too, and the others when the graph is going to need them
=========== =======================================================================

Each graph begins with calls that take long, and has servers of its own, so that no run finds what another one has
left open. The figures are those of the runs' reports: calls on the critical path that waited for a server, seconds, and
the seconds for which servers were open before their first call.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omx_tasks.agents.registry import agents as registered
from omx_tasks.agents.warming.policy import NONE, PLANNED
from omx_tasks.bench import fleet, sleeper
from omx_tasks.bench.figures import Goal
from omx_tasks.bench.place import Place, Row
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.monitoring.report import Report, report_of, slots_for
from omx_tasks.runs.history import read_history

AGENTS = 2
#: What `OMX_WARM` is in each case.
WAYS = {"none": NONE, "minimum": sleeper.NAME, "planned": f"{PLANNED},{sleeper.NAME}"}
_MODULES = {
    "time": "mcp_server_time",
    "git": "mcp_server_git",
    "notes": "omx_tasks.examples.notes",
}


def measure(place: Place, count: int, first: float) -> tuple[list[Row], list[str]]:
    """Run so many graphs each way, whose first calls take so many seconds; returns rows, and what was left out."""
    missing = [name for name, module in _MODULES.items() if find_spec(module) is None]
    if missing:
        return [], [f"servers opened ahead: needs mcp-server-time and -git; not there: {missing}"]
    graphs = dict(list(_GRAPHS.items())[:count])
    config = _server_file(place.folder, graphs)
    reports: dict[str, list[Report]] = {}
    for way, warm in WAYS.items():
        place.say(f"prewarming: {way}")
        with _agents(place, way, {"OMX_WARM": warm, "OMX_MCP_CONFIG": str(config)}):
            runs = [place.run(graph(first, place.folder)) for graph in graphs.values()]
            reports[way] = [_report(place, view.run) for view in runs]
    return [row for way, found in reports.items() for row in _rows(way, found)], []


def _rows(way: str, reports: Sequence[Report]) -> Iterator[Row]:
    goal = Goal("≤", 0) if way == "planned" else None
    cold = sum(report.cold_on_path for report in reports)
    yield Row(f"{way}: cold starts on critical paths", cold, "", goal)
    yield Row(f"{way}: makespans", sum(report.seconds for report in reports), "s")
    yield Row(f"{way}: ideal schedules", sum(report.ideal for report in reports), "s")
    yield Row(f"{way}: servers open, not yet called", sum(one.wasted for one in reports), "s")


def _report(place: Place, run_id: str) -> Report:
    history, records = read_history(place.store, run_id), registered(place.store)
    return report_of(history, slots_for(history, records), records)


# --- the graphs -------------------------------------------------------------------------------------


def _chain(first: float, folder: Path) -> Graph:
    """One after the other: each of three servers after a long call."""
    operations: list[Operation] = []
    for name in _MODULES:
        before = [operations[-1].id] if operations else []
        operations.append(_sleep(f"before_{name}", first, before))
        operations.append(_call("chain", name, folder, [operations[-1].id]))
    return Graph(name="chain", operations=operations)


def _fan_out(first: float, folder: Path) -> Graph:
    """Three servers at once, four calls of each, and one that waits for all."""
    wide = [
        _call("fan_out", name, folder, ["first"], number)
        for name in _MODULES
        for number in range(4)
    ]
    last = _call("fan_out", "notes", folder, [one.id for one in wide], 4)
    return Graph(name="fan_out", operations=[_sleep("first", first), *wide, last])


def _diamond(first: float, folder: Path) -> Graph:
    """Two long calls side by side, then one that waits for both, then two, then one."""
    return Graph(
        name="diamond",
        operations=[
            _sleep("left", first),
            _sleep("right", first / 2),
            _call("diamond", "git", folder, ["left", "right"]),
            _call("diamond", "time", folder, ["git0"]),
            _call("diamond", "notes", folder, ["git0"]),
            _call("diamond", "git", folder, ["time0", "notes0"], 1),
        ],
    )


_GRAPHS: dict[str, Callable[[float, Path], Graph]] = {
    "fan_out": _fan_out,
    "diamond": _diamond,
    "chain": _chain,
}


def _sleep(name: str, seconds: float, needs: Sequence[str] = ()) -> Operation:
    arguments = {"seconds": seconds, "task": name}
    return Operation(
        id=name,
        server=sleeper.NAME,
        tool=sleeper.TOOL,
        arguments=arguments,
        needs=tuple(needs),
        expect=seconds,
    )


def _call(graph: str, name: str, folder: Path, needs: Sequence[str], number: int = 0) -> Operation:
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        "time": ("get_current_time", {"timezone": "UTC"}),
        "git": ("git_status", {"repo_path": str(_repository(folder))}),
        "notes": ("list_notes", {}),
    }
    tool, arguments = calls[name]
    return Operation(
        id=f"{name}{number}",
        server=f"{name}_{graph}",
        tool=tool,
        arguments=arguments,
        needs=tuple(needs),
    )


# --- servers and agents -----------------------------------------------------------------------------


def _repository(folder: Path) -> Path:
    return folder / "repository"


def _server_file(folder: Path, graphs: Mapping[str, Any]) -> Path:
    """Write down the servers: the sleeping one, and three for each graph."""
    subprocess.run(["git", "init", "--quiet", _repository(folder)], check=True, timeout=30)
    servers = {sleeper.NAME: [sleeper.__file__]} | {
        f"{name}_{graph}": ["-m", module] for graph in graphs for name, module in _MODULES.items()
    }
    path = folder / "prewarming.json"
    said = {name: {"command": sys.executable, "args": words} for name, words in servers.items()}
    path.write_text(json.dumps({"mcpServers": said}), "utf-8")
    return path


@contextmanager
def _agents(place: Place, way: str, environ: Mapping[str, str]) -> Iterator[None]:
    given = fleet.environ(place.store, **environ)
    environs = {f"{way}{number}": given for number in range(AGENTS)}
    with fleet.started(place.folder, place.store, environs):
        yield
