"""What is said of two runs of Celery's tests; the runs themselves are `make conformance`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from outcomes import Difference, compare, judge, read, table

HERE = Path(__file__).parent

SUITE = """
import pytest, time

class test_class:
    def test_passes(self): pass
    def test_fails(self): assert False
    @pytest.mark.parametrize("name", ["a.b", "c"])
    def test_of(self, name): pass
    @pytest.mark.xfail
    def test_is_expected_to_fail(self): assert False
    @pytest.mark.skip
    def test_is_skipped(self): pass

@pytest.fixture
def broken(): raise OSError
@pytest.fixture
def broken_later():
    yield
    raise OSError

def test_errs(broken): pass
def test_passes_but_errs_later(broken_later): pass
@pytest.mark.timeout(0.05)
def test_hangs(): time.sleep(60)
"""


def test_a_report_of_pytest_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "t" / "integration"
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text(SUITE)
    (folder / "test_left.py").write_text(
        "import pytest; pytest.skip('no', allow_module_level=True)"
    )
    (folder / "test_broken.py").write_text("import no_such_module")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        HERE / "celery_suite.ini",
    ]
    options = [f"--rootdir={tmp_path}", "--junitxml=report.xml", "--continue-on-collection-errors"]
    run = subprocess.run([*command, *options, "t"], cwd=tmp_path, capture_output=True, timeout=60)
    assert run.returncode == 1
    assert read((tmp_path / "report.xml").read_text()) == {
        "test_it.py::test_class::test_passes": "passed",
        "test_it.py::test_class::test_fails": "failed",
        "test_it.py::test_class::test_of[a.b]": "passed",
        "test_it.py::test_class::test_of[c]": "passed",
        "test_it.py::test_class::test_is_expected_to_fail": "xfailed",
        "test_it.py::test_class::test_is_skipped": "skipped",
        "test_it.py::test_errs": "error",
        "test_it.py::test_passes_but_errs_later": "error",
        "test_it.py::test_hangs": "timeout",
        "test_left.py": "skipped",
        "test_broken.py": "error",
    }


def test_only_what_came_out_better_on_one_side_is_a_difference() -> None:
    stock = {
        "same": "passed",
        "lost": "passed",
        "bad": "failed",
        "won": "xfailed",
        "gone": "passed",
    }
    ours = {"same": "passed", "lost": "skipped", "bad": "timeout", "won": "passed"}
    assert compare(stock, ours) == [
        Difference("gone", "passed", "not run"),
        Difference("lost", "passed", "skipped"),
        Difference("won", "xfailed", "passed"),
    ]


def _lost(test: str, *alone: tuple[str, str]) -> Difference:
    return Difference(test, "passed", "failed", list(alone))


def test_a_loss_without_a_named_reason_is_bad() -> None:
    loss = _lost("a", ("passed", "failed"), ("passed", "passed"))
    judgement = judge([loss], {}, ["a"])
    assert judgement.unexplained == [loss]
    assert not judgement.is_good
    assert "a: stock passed, ours failed; alone passed on stock 2/2, on ours 1/2" in str(judgement)


def test_a_loss_with_a_named_reason_is_good() -> None:
    judgement = judge([_lost("a", ("passed", "failed"))], {"a": "by design"}, ["a"])
    assert judgement.is_good
    assert "by design" in str(judgement)


def test_a_loss_that_is_not_seen_alone_is_told_and_not_bad() -> None:
    loss = _lost("a", ("passed", "passed"), ("failed", "failed"))
    judgement = judge([loss], {}, ["a"])
    assert judgement.is_good
    assert judgement.unconfirmed == [loss]


def test_a_gain_is_told() -> None:
    gain = Difference("a", "failed", "passed", [("failed", "passed")])
    judgement = judge([gain], {}, ["a"])
    assert judgement.gains == [gain]
    assert judgement.is_good


@pytest.mark.parametrize("tests, obsolete", [(["a", "b"], ["a"]), (["b"], [])])
def test_a_named_exception_that_is_not_seen_is_bad_if_its_test_was_run(
    tests: list[str], obsolete: list[str]
) -> None:
    judgement = judge([], {"a": "by design"}, tests)
    assert judgement.obsolete == obsolete
    assert judgement.is_good is not bool(obsolete)


def test_a_table_counts_by_file_and_in_all() -> None:
    files = {"one": {"a": "passed", "b": "failed"}, "two": {"c": "passed"}}
    lines = table("stock", files, {"one": 1.0, "two": 2.0}).splitlines()
    assert [line.split() for line in lines] == [
        ["stock", "passed", "failed", "seconds"],
        ["one", "1", "1", "1"],
        ["two", "1", "2"],
        ["all", "2", "1", "3"],
    ]


def test_each_named_exception_has_its_reason() -> None:
    known = tomllib.loads((HERE / "exceptions.toml").read_text())
    assert known.keys() == {"tests", "left_out"}
    assert all(reason for part in known.values() for reason in part.values())
    assert all(test.partition("::")[0] not in known["left_out"] for test in known["tests"])
