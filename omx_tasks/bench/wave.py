"""A load that is high and low in turns, and a picture of how many agents there were meanwhile, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

#: Sizes of the picture: one chart, the space around it, and room for words.
WIDTH, HEIGHT, LEFT, TOP, BETWEEN = 760, 110, 60, 34, 46
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.t{font-weight:bold}.load{fill:#dfe7f1}"
    ".agents{fill:none;stroke:#c2410c;stroke-width:2}.axis{stroke:#999;stroke-width:1}"
)


@dataclass(frozen=True)
class Wave:
    """``high`` operations a second for ``half`` seconds, then ``low``, and so on for some periods."""

    high: float = 20.0
    low: float = 2.0
    half: float = 20.0
    periods: int = 3

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return 2 * self.half * self.periods

    def rate(self, at: float) -> float:
        """Return the operations a second at a moment."""
        return self.high if at % (2 * self.half) < self.half else self.low


@dataclass(frozen=True)
class Course:
    """How many agents were warm, as pairs of seconds and number."""

    title: str
    agents: Sequence[tuple[float, int]]


def picture(wave: Wave, courses: Sequence[Course]) -> str:
    """Return an SVG with a chart for each course: the load behind, the agents in front of it."""
    ends = max([wave.seconds, *(at for course in courses for at, _ in course.agents)])
    most = max([1, *(count for course in courses for _, count in course.agents)])
    height = TOP + len(courses) * (HEIGHT + BETWEEN)
    charts = "".join(
        _chart(wave, course, TOP + number * (HEIGHT + BETWEEN), ends, most)
        for number, course in enumerate(courses)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 60}" height="{height}" '
        f'viewBox="0 0 {LEFT + WIDTH + 60} {height}"><style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{charts}</svg>\n'
    )


def _chart(wave: Wave, course: Course, top: float, ends: float, most: int) -> str:
    def x(at: float) -> float:
        return round(LEFT + WIDTH * at / ends, 1)

    def y(part: float) -> float:
        return round(top + HEIGHT * (1 - part), 1)

    blocks = ""
    for half in range(2 * wave.periods):
        begin = half * wave.half
        part = wave.rate(begin) / max(wave.high, wave.low)
        size = x(begin + wave.half) - x(begin)
        blocks += f'<rect class="load" x="{x(begin)}" y="{y(part)}" width="{size:.1f}" height="{HEIGHT * part:.1f}"/>'
    points, before = [], 0
    for at, count in course.agents:
        points += [f"{x(at)},{y(before / most)}", f"{x(at)},{y(count / most)}"]
        before = count
    words = (
        f'<text class="t" x="{LEFT}" y="{top - 8}">{escape(course.title)}</text>'
        f'<text x="{LEFT - 8}" y="{y(1) + 4}" text-anchor="end">{most}</text>'
        f'<text x="{LEFT - 8}" y="{y(0) + 4}" text-anchor="end">0</text>'
        f'<text x="{LEFT + WIDTH + 6}" y="{y(1) + 4}">{wave.high:g}/s</text>'
        f'<text x="{x(ends)}" y="{y(0) + 16}" text-anchor="end">{ends:.0f} s</text>'
        f'<text x="{LEFT}" y="{y(0) + 16}">line: agents that are warm; filled: the load</text>'
    )
    axis = f'<line class="axis" x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y(0)}" y2="{y(0)}"/>'
    return f'{blocks}{axis}<polyline class="agents" points="{" ".join(points)}"/>{words}'
