"""Forty graphs of nested calls that others wrote (see data/README.md): each value arrives as it should."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet, one

from omx_tasks.api import submit_graph
from omx_tasks.graph.model import Graph
from omx_tasks.store.client import Store

SERVERS = Path(__file__).parent / "servers"
DATA = Path(__file__).parents[1] / "data" / "nestful.json"
SAMPLES: list[dict[str, Any]] = json.loads(DATA.read_text())["samples"]

sys.path.insert(0, str(SERVERS))
from answers import REFERENCE, answer, fields_of  # noqa: E402

FIELDS = fields_of(SAMPLES)


@pytest.fixture(scope="module")
def answering(
    cluster_url: str, tmp_path_factory: pytest.TempPathFactory, shared: Fleet
) -> Iterator[Fleet]:
    store = Store(cluster_url, timeout=10.0)
    others = {
        "nestful": {"command": sys.executable, "args": [str(SERVERS / "answers.py"), str(DATA)]}
    }
    fleet = Fleet(tmp_path_factory.mktemp("nestful"), cluster_url, store, shared.until, others)
    fleet.start()
    yield fleet
    fleet.stop()
    store.close()


def graph_of(sample: dict[str, Any]) -> Graph:
    """Return a sample as a graph: ``$var1.a b$`` is written ``${var1.structured."a b"}``."""
    operations = [
        {
            "id": call.get("label", call["name"]),
            "server": "nestful",
            "tool": call["name"],
            "arguments": _converted(call["arguments"]),
        }
        for call in sample["output"]
    ]
    return Graph.from_data({"name": "nestful", "operations": operations})


def _converted(value: Any) -> Any:
    if isinstance(value, str):
        return REFERENCE.sub(_expression, value)
    if isinstance(value, list):
        return [_converted(item) for item in value]
    return (
        {key: _converted(item) for key, item in value.items()} if isinstance(value, dict) else value
    )


def _expression(match: re.Match[str]) -> str:
    steps = re.findall(r"\[\d+\]|[^.\[]+", match[2])
    path = "".join(step if step.startswith("[") else f'."{step}"' for step in steps)
    return f"${{{match[1]}.structured{path}}}"


def expected_of(sample: dict[str, Any]) -> dict[str, Any]:
    """Return what each call answers, worked out one after the other without any of the product."""
    values: dict[str, Any] = {}
    for call in sample["output"]:
        arguments = _filled(call["arguments"], values)
        values[call.get("label", call["name"])] = answer(
            call["name"], arguments, FIELDS[call["name"]]
        )
    return values


def _filled(value: Any, values: dict[str, Any]) -> Any:
    if isinstance(value, str):
        whole = REFERENCE.fullmatch(value)
        if whole:
            return _read(whole, values)
        return REFERENCE.sub(lambda match: _as_text(_read(match, values)), value)
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return (
        {k: _filled(item, values) for k, item in value.items()}
        if isinstance(value, dict)
        else value
    )


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _read(match: re.Match[str], values: dict[str, Any]) -> Any:
    found = values[match[1]]
    for step in re.findall(r"\d+(?=\])|[^.\[\]]+", match[2]):
        found = found[int(step)] if isinstance(found, list) else found[step]
    return found


def test_all_forty_graphs_give_every_call_the_values_that_it_refers_to(
    answering: Fleet, store: Store
) -> None:
    assert len(SAMPLES) == 40
    runs = [submit_graph(store, graph_of(sample), {}) for sample in SAMPLES]
    references = 0
    for sample, run in zip(SAMPLES, runs, strict=True):
        view = run.wait(60)
        assert view.state == "succeeded", view
        answers = {name: one(view, name).structured for name in view.operations}
        expected = expected_of(sample)
        assert answers == expected
        assert json.dumps(answers, sort_keys=True) == json.dumps(expected, sort_keys=True), "types"
        references += len(REFERENCE.findall(json.dumps([c["arguments"] for c in sample["output"]])))
    assert references == 158
