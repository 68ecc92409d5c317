"""The page: whole by itself, and deaf to what comes from servers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from courses import Work, works
from hypothesis import given, settings

from omx_tasks.monitoring.report import report_of
from omx_tasks.monitoring.timeline import page

WORK = Work({"a": [], "each": ["a"]}, {"a": 1.0, "each": [0.5, 0.25]}, handover=0.125)
EVIL = "</script><script>alert(1)</script><!-- \u2028 <img src=x onerror=alert(2)> & \"' ${x}"


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "script":
            self.scripts[-1] += data
        self.texts.append(data)

    def handle_endtag(self, tag):
        if tag == "script":
            self.elements.append(("/script", {}))

    @property
    def data(self):
        return json.loads(self.scripts[0])


def report_with(text):
    report = report_of(WORK.history(), 2)
    spans = tuple(
        replace(span, call=text, error=text, agent=text, state="failed") for span in report.spans
    )
    return replace(report, name=text, spans=spans, agents=(text,))


def test_what_a_server_says_is_no_markup_anywhere_in_the_page():
    text = page(report_with(EVIL))
    seen = Page(text)
    plain = Page(page(report_with("plain")))
    assert seen.elements == plain.elements
    assert len(seen.scripts) == 2
    assert "<img" not in text
    assert "<!--" not in text
    assert text.count("</script>") == 2


def test_what_a_server_says_reaches_the_script_unchanged():
    data = Page(page(report_with(EVIL))).data
    assert data["calls"] == [EVIL]
    assert data["agents"] == [EVIL]
    assert {span[5] for span in data["spans"]} == {EVIL}


def test_the_page_needs_nothing_else_and_lets_no_other_script_run():
    text = page(report_of(WORK.history(), 2))
    seen = Page(text)
    for tag, attributes in seen.elements:
        assert not {"src", "href", "srcset", "action"} & attributes.keys(), tag
        assert tag not in ("link", "iframe", "img", "object", "embed")
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"https?://|@import|url\(", text)
    (policy,) = [a["content"] for t, a in seen.elements if a.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(seen.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_the_figures_are_on_the_page():
    report = report_of(WORK.history(), 2)
    text = page(report)
    for figure in (f"{report.seconds:.2f} s", f"{report.ideal:.2f} s", f"{report.ratio:.2f}x"):
        assert f"<dd>{figure}</dd>" in text
    assert "<dt>operations</dt><dd>2</dd>" in text
    assert "<dt>calls</dt><dd>3</dd>" in text
    assert "<small>at least</small>" in page(report_of(WORK.history(), None))


@pytest.mark.parametrize("state", ["failed", "unknown"])
def test_failures_are_counted(state):
    report = report_of(WORK.history(), 2)
    spans = (replace(report.spans[0], state=state), *report.spans[1:])
    assert "<dt>failed</dt><dd>1</dd>" in page(replace(report, spans=spans))


@settings(max_examples=25)
@given(works())
def test_the_script_gets_every_operation_with_all_its_time(work):
    report = report_of(work.history(), work.slots)
    data = Page(page(report)).data
    assert [span[0] for span in data["spans"]] == [span.name for span in report.spans]
    assert [data["spans"][number][0] for number in data["critical"]] == list(report.critical)
    for given_, span in zip(data["spans"], report.spans, strict=True):
        kinds = [(data["kinds"][kind], begin, end) for kind, begin, end in given_[10]]
        assert [kind for kind, _, _ in kinds] == [one.kind for one in span.segments]
        assert -1 <= given_[6] < len(data["lanes"])
