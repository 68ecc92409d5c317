"""The report as one page: figures on top, and a timeline to look into. A file of its own, without a network.

What comes from a run (names, servers, errors) is escaped where it stands in the page, reaches the script as data
only, and is set as text there. The page's policy lets no other script run and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from importlib import resources
from string import Template
from typing import Any

from omx_tasks.monitoring.lanes import lanes_of
from omx_tasks.monitoring.report import Report
from omx_tasks.monitoring.spans import KINDS

#: The parts of the page's one script, in their order.
_SCRIPTS = ("rows.js", "drawing.js", "looking.js")
_MEANINGS = {
    "dependency": "waiting for what it needs",
    "slot": "ready, and no slot was free",
    "retries": "earlier attempts",
    "cold": "opening a session",
    "call": "the MCP call",
    "overhead": "all that the system did around it",
}
#: What could end a script element, begin a comment, or is no JavaScript, written as JSON may write it.
_IN_SCRIPT = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def page(report: Report) -> str:
    """Return the HTML of a report."""
    script = "\n".join(_part(name) for name in _SCRIPTS)
    moment = datetime.fromtimestamp(report.created, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Template(_part("page.html")).substitute(
        title=escape(f"{report.name}: {report.state} in {_took(report.seconds)}"),
        hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        style=_part("page.css"),
        name=escape(report.name),
        run=escape(report.run),
        state=escape(report.state),
        moment=moment,
        figures=_figures(report),
        sentence=_sentence(report),
        bar=_bar(report),
        legend=_legend(report),
        data=_data(report),
        script=script,
    )


def _part(name: str) -> str:
    return (resources.files("omx_tasks.monitoring") / "page" / name).read_text("utf-8")


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


# --- the figures ------------------------------------------------------------------------------------


def _figures(report: Report) -> str:
    ratio = "–" if report.ratio is None else f"{report.ratio:.2f}x"
    slots = str(report.slots) if report.slots_known else f"{report.slots} <small>at least</small>"
    shown = {
        "achieved": _took(report.seconds),
        "ideal schedule": _took(report.ideal),
        "lower bound": _took(report.bound),
        "achieved / ideal": ratio,
        "slots": slots,
        "agents at work": f"{len(report.agents)}",
        "operations": f"{report.operations:,}",
        "calls": f"{report.calls:,}",
        "cold starts": f"{report.cold_starts:,}",
        "cold, critical path": f"{report.cold_on_path:,}",
        "servers open unused": _took(report.wasted),
        **({"failed": f"{report.failed:,}"} if report.failed else {}),
    }
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in shown.items())


def _sentence(report: Report) -> str:
    if not report.critical:
        return "No operation was begun."
    count = len(report.critical)
    noun = "operation" if count == 1 else "operations"
    first, last = escape(report.critical[0]), escape(report.critical[-1])
    path = first if count == 1 else f"{first} … {last}"
    return (
        f"What set the end of the run: {count:,} {noun}, each released by the one before ({path})."
    )


def _bar(report: Report) -> str:
    whole = sum(report.where.values())
    return "".join(
        f'<div class="{kind}" style="width:{seconds / whole:.3%}"></div>'
        for kind, seconds in report.where.items()
        if seconds > 0
    )


def _legend(report: Report) -> str:
    whole = sum(report.where.values()) or 1.0
    return "".join(_entry(kind, report, whole) for kind in KINDS if report.totals[kind] > 0)


def _entry(kind: str, report: Report, whole: float) -> str:
    seconds = report.where.get(kind, 0.0)
    share = f" <b>{_took(seconds)}</b> {seconds / whole:.0%}" if seconds else ""
    return f'<li><i class="{kind}"></i>{kind}{share} <span>{_MEANINGS[kind]}</span></li>'


# --- the data of the timeline -----------------------------------------------------------------------


def _data(report: Report) -> str:
    calls, agents = _numbered(span.call for span in report.spans), _numbered(report.agents)
    lanes, places = lanes_of(report.spans)
    kinds = _numbered(KINDS)
    index = {span.name: number for number, span in enumerate(report.spans)}
    data = {
        "seconds": round(report.seconds, 6),
        "ideal": round(report.ideal, 6),
        "slots": report.slots,
        "kinds": KINDS,
        "agents": list(agents),
        "calls": list(calls),
        "lanes": [[agents.get(agent, -1), slot] for agent, slot in lanes],
        "critical": [index[name] for name in report.critical],
        "spans": [
            [
                span.name,
                calls[span.call],
                span.state,
                agents.get(span.agent, -1),
                span.attempts,
                span.error,
                places[number],
                int(span.critical),
                *(round(moment, 6) for moment in span.held),
                [
                    [kinds[one.kind], round(one.begin, 6), round(one.end, 6)]
                    for one in span.segments
                ],
            ]
            for number, span in enumerate(report.spans)
        ],
    }
    return json.dumps(data, separators=(",", ":")).translate(_IN_SCRIPT)


def _numbered(words: Iterable[Any]) -> dict[Any, int]:
    return {word: number for number, word in enumerate(dict.fromkeys(words))}
