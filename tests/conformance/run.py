"""Run Celery's own integration tests on a stock Redis and on our transport and backend, and compare.

::

    python tests/conformance/run.py [--only FILE]… [--minutes 25] [--again 3] [-k EXPRESSION]

Celery's source distribution and the two packages that its tests import are downloaded with pip into a temporary folder;
nothing of it stays. Each file runs on the stock Redis, then on ours, each time on servers that nobody used before;
Celery's tests also use the stock Redis as their own note-pad on both sides. No test is run again because it failed;
what came out differently is run alone on both sides, ``--again`` times, and the end says both. The known differences,
each with its reason, are in ``exceptions.toml``. Pytest's output is kept in ``build/conformance/``.

The stock side needs ``redis-server`` (Debian: ``apt-get install redis-server``). Exit code 1 when a difference is
no named exception, or a named exception is not seen any more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from outcomes import Difference, Outcomes, compare, judge, read, table

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.ports import free_ports

HERE = Path(__file__).resolve().parent
LOGS = HERE.parents[1] / "build" / "conformance"
#: What Celery's tests import and this project does not.
PACKAGES = ("django", "sqlalchemy")
#: Seconds for one test: more than any of Celery's waits, so that these fail by themselves.
TEST_SECONDS = 150
#: Seconds that an interrupted run has to write its report.
REPORT_SECONDS = 30.0

Servers = Callable[[Path], AbstractContextManager[tuple[str, int]]]


def pip(*arguments: str) -> None:
    """Run pip quietly."""
    command = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)
    subprocess.run(command, check=True)


def download(folder: Path) -> Path:
    """Fetch Celery's tests, as they were released with the installed version, and what they import."""
    name = f"celery=={version('celery')}"
    pip("download", "--no-deps", "--no-binary", "celery", "--dest", str(folder), name)
    pip("install", "--target", str(folder / "packages"), *PACKAGES)
    (archive,) = folder.glob("celery-*.tar.gz")
    with tarfile.open(archive) as source:
        members = [m for m in source.getmembers() if m.name.partition("/")[2].startswith("t/")]
        source.extractall(folder, members, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@contextmanager
def stock(folder: Path) -> Iterator[tuple[str, int]]:
    """Run one Redis server, for the URL to test and the port of the note-pad."""
    program = shutil.which("redis-server")
    assert program is not None
    (port,) = free_ports(1)
    command = [program, "--port", str(port), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0", port
    finally:
        server.terminate()
        server.wait(10)


@contextmanager
def ours(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a cluster, and a Redis server for the note-pad."""
    with stock(folder) as (_, port):
        cluster = EmbeddedCluster(folder / "cluster")
        cluster.up(bound=True)
        try:
            yield cluster.url(), port
        finally:
            cluster.down(delete=True)


@dataclass
class Side:
    """One of the two: its servers, what came out by file, and how long it took."""

    name: str
    servers: Servers
    source: Path
    seconds_left: float
    files: dict[str, Outcomes] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def run_file(self, file: str, wish: str) -> None:
        """Run one file of the suite."""
        began = time.monotonic()
        options = ["-k", wish] if wish else []
        self.files[file] = self._run(f"{file}.py", file, options, self.seconds_left)
        self.seconds[file] = time.monotonic() - began
        self.seconds_left = max(0.0, self.seconds_left - self.seconds[file])

    def run_alone(self, test: str) -> str:
        """Run one test; return its outcome."""
        found = self._run(test, "alone", [], TEST_SECONDS + REPORT_SECONDS)
        return found.get(test, "not run")

    def outcomes(self) -> Outcomes:
        """Return the outcomes of all files."""
        return {test: outcome for found in self.files.values() for test, outcome in found.items()}

    def _run(self, target: str, log: str, options: Sequence[str], seconds: float) -> Outcomes:
        report = self.source / "report.xml"
        report.unlink(missing_ok=True)
        with (
            tempfile.TemporaryDirectory() as folder,
            self.servers(Path(folder)) as (url, port),
            (LOGS / f"{log}.{self.name}.log").open("a" if log == "alone" else "w") as output,
        ):
            command = pytest_command(self.source, report, [*options, f"t/integration/{target}"])
            environ = environment(self.source, url, port, with_ours=self.name == "ours")
            run_for(seconds, command, self.source, environ, output.fileno())
        return read(report.read_text()) if report.exists() else {}


def pytest_command(source: Path, report: Path, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs some of Celery's tests."""
    options = ["-v", "--tb=short", "-p", "celery.contrib.pytest", "-p", "no:cacheprovider"]
    options += ["-p", "one_timeout", f"--timeout={TEST_SECONDS}", f"--junitxml={report}"]
    options += ["-c", str(HERE / "celery_suite.ini"), f"--rootdir={source}"]
    return [sys.executable, "-m", "pytest", *options, *arguments]


def environment(source: Path, url: str, port: int, *, with_ours: bool) -> dict[str, str]:
    """Return the variables that Celery's tests read; only on our side is our scheme known."""
    paths = [source, source.parent / "packages", HERE / "plugins"]
    paths += [HERE / "registered"] if with_ours else []
    given = os.environ.get("PYTHONPATH")
    return os.environ | {
        "TEST_BROKER": url,
        "TEST_BACKEND": url,
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(port),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([*map(str, paths), *([given] if given else [])]),
    }


def run_for(
    seconds: float, command: Sequence[str], folder: Path, environ: dict[str, str], output: int
) -> None:
    """Run a suite, at most so long; end all that it started."""
    suite = subprocess.Popen(
        command,
        cwd=folder,
        env=environ,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        suite.wait(seconds)
    except subprocess.TimeoutExpired:
        suite.send_signal(signal.SIGINT)  # pytest then reports what it has
        with contextlib.suppress(subprocess.TimeoutExpired):
            suite.wait(REPORT_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(suite.pid, signal.SIGKILL)
        suite.wait()


def run_files(sides: Sequence[Side], files: Sequence[str], wish: str) -> None:
    """Run each file on one side after the other, so that the machine's weather meets both."""
    for file in files:
        for side in sides:
            side.run_file(file, wish)
            counts = Counter(side.files[file].values()).items()
            said = ", ".join(f"{number} {outcome}" for outcome, number in counts) or "nothing"
            print(f"{file} {side.name}: {said} ({side.seconds[file]:.0f} s)", flush=True)


def run_again(sides: Sequence[Side], differences: Sequence[Difference], times: int) -> None:
    """Run what differs alone on both sides."""
    for difference in differences:
        for _ in range(times):
            first, second = (side.run_alone(difference.test) for side in sides)
            difference.alone.append((first, second))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="FILE", help="one file: test_canvas")
    parser.add_argument("--minutes", type=float, default=25.0, help="most minutes for a side")
    parser.add_argument("--again", type=int, default=3, help="lone runs of what differs")
    parser.add_argument("-k", default="", dest="wish", help="pytest's -k")
    return parser.parse_args()


def main() -> int:
    """Run both sides, print their tables and what differs."""
    given = arguments()
    if shutil.which("redis-server") is None:
        sys.exit("there is no redis-server: install one (Debian: apt-get install redis-server)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # with all that was started
    known = tomllib.loads((HERE / "exceptions.toml").read_text())
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        source = download(Path(name))
        sides = [
            Side(title, servers, source, given.minutes * 60)
            for title, servers in (("stock", stock), ("ours", ours))
        ]
        there = sorted(path.stem for path in source.glob("t/integration/test_*.py"))
        files = given.only or [file for file in there if file not in known["left_out"]]
        run_files(sides, files, given.wish)
        differences = compare(*(side.outcomes() for side in sides))
        run_again(sides, differences, given.again)
    for side in sides:
        print(f"\n{table(side.name, side.files, side.seconds)}")
    print("\nleft out on both sides:")
    print("\n".join(f"  {file}: {reason}" for file, reason in known["left_out"].items()))
    judgement = judge(differences, known["tests"], {**sides[0].outcomes(), **sides[1].outcomes()})
    print(f"\n{judgement}")
    return 0 if judgement.is_good and sides[1].outcomes() else 1


if __name__ == "__main__":
    sys.exit(main())
