"""What came out of Celery's tests on either side, and what to say of it; no input or output but the report's text.

A test is named as pytest names it (``test_tasks.py::test_class::test_name[parameters]``). An outcome is ``passed``,
``skipped``, ``xfailed`` (Celery expects it to fail), ``failed``, ``error``, ``timeout`` or ``not run``. What differs
is run again alone on both sides: a difference counts when it is seen there too. Each one that ours
loses must be a named exception, and each named exception must still be seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

#: Outcomes from best to worst; those of one rank are equally good.
RANKS = {
    "passed": 0,
    "skipped": 1,
    "xfailed": 1,
    "failed": 2,
    "error": 2,
    "timeout": 2,
    "not run": 2,
}

Outcomes = dict[str, str]


def read(report: str) -> Outcomes:
    """Read a JUnit report; of a test's call and teardown, the worse one counts."""
    found: Outcomes = {}
    for case in ElementTree.fromstring(report).iter("testcase"):  # we had it written
        if not case.get("name"):
            continue  # an interruption, no test
        name, verdict = _name(case), _verdict(case)
        if RANKS[verdict] >= RANKS[found.get(name, verdict)]:
            found[name] = verdict
    return found


def _name(case: ElementTree.Element) -> str:
    where = f"{case.get('classname')}.".rpartition("integration.")[2].strip(".")
    if not where:  # a whole file: it was skipped, or could not be imported
        return f"{str(case.get('name')).rpartition('.')[2]}.py"
    file, *classes = where.split(".")
    return "::".join([f"{file}.py", *classes, str(case.get("name"))])


def _verdict(case: ElementTree.Element) -> str:
    for child in case:
        if child.tag == "skipped":
            return "xfailed" if child.get("type") == "pytest.xfail" else "skipped"
        if child.tag in ("failure", "error"):
            if "from pytest-timeout" in child.get("message", ""):
                return "timeout"
            return "failed" if child.tag == "failure" else "error"
    return "passed"


@dataclass
class Difference:
    """A test that came out better on one side; ``alone`` is what each side had when it was run again by itself."""

    test: str
    stock: str
    ours: str
    alone: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_loss(self) -> bool:
        """Whether ours is the worse one."""
        return RANKS[self.ours] > RANKS[self.stock]

    @property
    def is_confirmed(self) -> bool:
        """Whether the same side was the worse one when the test ran alone, if it did."""
        if not self.alone:
            return True
        lead = sum(RANKS[ours] - RANKS[stock] for stock, ours in self.alone)
        return lead > 0 if self.is_loss else lead < 0

    def __str__(self) -> str:
        line = f"{self.test}: stock {self.stock}, ours {self.ours}"
        if not self.alone:
            return line
        stock, ours = (_passed(side) for side in zip(*self.alone, strict=True))
        return f"{line}; alone passed on stock {stock}, on ours {ours}"


def _passed(outcomes: Sequence[str]) -> str:
    return f"{outcomes.count('passed')}/{len(outcomes)}"


def compare(stock: Outcomes, ours: Outcomes) -> list[Difference]:
    """Return the tests that came out better on one side."""
    pairs = (
        Difference(test, stock.get(test, "not run"), ours.get(test, "not run"))
        for test in sorted({*stock, *ours})
    )
    return [pair for pair in pairs if RANKS[pair.stock] != RANKS[pair.ours]]


@dataclass(frozen=True)
class Judgement:
    """Differences, sorted by what they mean, and exceptions that are none any more."""

    excepted: list[tuple[Difference, str]]
    unexplained: list[Difference]
    unconfirmed: list[Difference]
    gains: list[Difference]
    obsolete: list[str]

    @property
    def is_good(self) -> bool:
        """Whether ours does what the named exceptions say and nothing else."""
        return not self.unexplained and not self.obsolete

    def __str__(self) -> str:
        parts = [
            ("ours loses, for a named reason", [f"{d}\n    {why}" for d, why in self.excepted]),
            ("ours loses, for no named reason", self.unexplained),
            ("named exceptions that are not seen any more (remove them)", self.obsolete),
            ("ours gains", self.gains),
            ("differed once, not when run alone", self.unconfirmed),
        ]
        return "\n".join(_section(title, lines) for title, lines in parts)


def _section(title: str, lines: Sequence[object]) -> str:
    return "\n".join([f"{title}: {len(lines) or 'none'}", *(f"  {line}" for line in lines)])


def judge(
    differences: Iterable[Difference], exceptions: Mapping[str, str], tests: Iterable[str]
) -> Judgement:
    """Sort the differences; ``tests`` are those that were run, whose exceptions must be seen."""
    confirmed, unconfirmed = [], []
    for difference in differences:
        (confirmed if difference.is_confirmed else unconfirmed).append(difference)
    losses = {d.test: d for d in confirmed if d.is_loss}
    return Judgement(
        excepted=[(d, exceptions[test]) for test, d in losses.items() if test in exceptions],
        unexplained=[d for test, d in losses.items() if test not in exceptions],
        unconfirmed=unconfirmed,
        gains=[d for d in confirmed if not d.is_loss],
        obsolete=sorted(exceptions.keys() & set(tests) - losses.keys()),
    )


def table(title: str, files: Mapping[str, Outcomes], seconds: Mapping[str, float]) -> str:
    """Return a side's counts as text, a line for each file and one for all."""
    counts = {name: Counter(outcomes.values()) for name, outcomes in files.items()}
    everything = sum(counts.values(), Counter[str]())
    columns = [outcome for outcome in RANKS if everything[outcome]]
    width = max(len(name) for name in (title, *files, "all"))
    lines = [f"{title:{width}}  {' '.join(f'{c:>8}' for c in columns)}  seconds"]
    for name, count in {**counts, "all": everything}.items():
        cells = " ".join(f"{count[c] or '':>8}" for c in columns)
        took = seconds[name] if name in seconds else sum(seconds.values())
        lines.append(f"{name:{width}}  {cells}  {took:7.0f}")
    return "\n".join(lines)
