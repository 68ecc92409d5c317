"""The picture of a square wave, and the bench that draws it in its smallest form."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from quick import answer_of

from omx_tasks.bench.wave import Course, Wave, picture

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_shows_load_and_agents_of_each_course() -> None:
    wave = Wave(high=10.0, low=5.0, half=2.0, periods=2)
    courses = [Course("1 to 4 <agents>", [(0.0, 1), (4.0, 4), (10.0, 2)]), Course("1 agent", [])]
    root = ElementTree.fromstring(picture(wave, courses))
    assert len(root.findall(f"{SVG}rect[@class='load']")) == 2 * 4
    first, _ = root.findall(f"{SVG}polyline")
    points = [tuple(map(float, point.split(","))) for point in first.get("points", "").split()]
    assert len(points) == 6
    heights = [y for _, y in points]
    assert min(heights) == heights[3]  # four agents, the most
    assert "1 to 4 <agents>" in [text.text for text in root.findall(f"{SVG}text")]


@pytest.mark.timeout(660)
def test_a_quick_run_gives_every_figure_and_a_picture_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    temporary, file = tmp_path / "tmp", tmp_path / "agents.svg"
    temporary.mkdir()
    answer = answer_of(temporary, "scaling", "--picture", file)
    rows = {row["title"]: row["value"] for row in answer["rows"]}
    assert rows["1 agent: more or fewer"] == rows["2 agents: more or fewer"] == 0
    assert 0 < rows["1 agent: there for"] < rows["2 agents: there for"]
    assert file.read_text().startswith("<svg")
    assert list(temporary.iterdir()) == []
