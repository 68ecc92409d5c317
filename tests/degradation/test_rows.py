"""The README's table of parts that are away has the rows that are shown by tests, and these tests exist."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from rows import ROWS

ROOT = Path(__file__).parents[2]
HEADING = "### When a part is away"


def _table() -> list[list[str]]:
    """Return the cells of the README's table, without its head."""
    section = (ROOT / "README.md").read_text("utf-8").partition(HEADING)[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@cache
def _tests_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_the_table_has_the_rows_that_tests_show_and_no_empty_cell() -> None:
    table = _table()
    assert [cells[0] for cells in table] == list(ROWS)
    assert all(len(cells) == 4 and all(cells) for cells in table)


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_exist(row: str) -> None:
    assert ROWS[row]
    for test in ROWS[row]:
        path, _, name = test.partition("::")
        assert name.partition("[")[0] in _tests_in(path), test


def test_what_is_taken_away_here_is_in_the_table() -> None:
    path = "tests/degradation/test_without.py"
    shown = {test.partition("[")[0] for tests in ROWS.values() for test in tests}
    taken = {f"{path}::{name}" for name in _tests_in(path) if name.startswith("test_")}
    assert taken <= shown
