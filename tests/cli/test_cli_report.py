"""``--report``: the page of a run, and the line that says how near to the ideal it came."""

from __future__ import annotations

import json
import re

import pytest

PAIR = {
    "name": "</script><b>pair",
    "operations": [
        {"id": "one", "server": "time", "tool": "get_current_time", "arguments": {"timezone": "UTC"}},
        {
            "id": "two",
            "server": "time",
            "tool": "get_current_time",
            "arguments": {"timezone": "${one.structured.timezone}"},
        },
    ],
}  # fmt: skip


def data_of(path):
    text = path.read_text("utf-8")
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*)</script>', text)[1]
    )


@pytest.fixture(scope="module")
def ran(system):
    return system.omx("run", system.graph(json.dumps(PAIR)), "--json", "--report", "run.html")


def test_run_writes_the_page_and_says_how_it_went(system, ran):
    assert ran.code == 0
    assert ran.json["state"] == "succeeded"
    assert re.search(r"ideal \S+ m?s · achieved \S+ m?s \(\d+\.\d\dx\)\n", ran.err)
    assert "report: run.html" in ran.err
    page = system.folder / "run.html"
    data = data_of(page)
    assert [span[0] for span in data["spans"]] == ["one", "two"]
    assert data["critical"] == [0, 1]
    assert data["calls"] == ["time.get_current_time"]
    assert "&lt;/script&gt;&lt;b&gt;pair" in page.read_text("utf-8")


def test_result_writes_the_same_page_later(system, ran):
    later = system.omx("result", ran.json["run"], "--json", "--report", "later.html")
    assert later.code == 0
    assert data_of(system.folder / "later.html") == data_of(system.folder / "run.html")


def test_a_failed_run_has_a_page_with_its_error(system):
    graph = json.loads(json.dumps(PAIR).replace('"UTC"', '"Nowhere"'))
    done = system.omx("run", system.graph(json.dumps(graph)), "--report", "failed.html")
    assert done.code == 1
    assert "ideal" not in done.err
    (span,) = data_of(system.folder / "failed.html")["spans"]
    assert span[2] == "failed"
    assert "Nowhere" in span[5]


@pytest.mark.parametrize(("path", "reason"), [(".", "is a folder"), ("no/where.html", "no folder")])
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(system, path, reason):
    done = system.omx("run", system.graph(json.dumps(PAIR)), "--report", path)
    assert (done.code, done.out) == (2, "")
    assert reason in done.err
    assert "run " not in done.err.replace("omx run", "")


def test_with_detach_there_is_nothing_to_report_yet(system):
    done = system.omx("run", system.graph(json.dumps(PAIR)), "--detach", "--report", "x.html")
    assert done.code == 2
    assert "omx result RUN --report" in done.err
