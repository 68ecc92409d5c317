"""Run Celery's own integration tests on a stock Redis and on our transport and backend, and compare.

::

    python tests/conformance/run.py [--only NAME]… [--minutes 20] [-k EXPRESSION]

Celery's source distribution is downloaded with pip into a temporary folder; nothing of it stays. Tests are not
run again when they fail. The stock run needs ``redis-server`` (Debian: ``apt-get install redis-server``); Celery's
tests also use it as their own note-pad in both runs. Exit code 1 when a test passes on the stock Redis and not on ours.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.ports import free_ports

HERE = Path(__file__).resolve().parent
FILES = ("test_canvas", "test_tasks", "test_inspect", "test_backend", "test_worker")
NOTHING = "not run"

Outcomes = dict[str, str]


def download(folder: Path) -> Path:
    """Fetch Celery's tests, as they were released with the installed version."""
    name = f"celery=={version('celery')}"
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "celery")
    subprocess.run([*pip, "--dest", str(folder), name], check=True)
    (archive,) = folder.glob("celery-*.tar.gz")
    with tarfile.open(archive) as source:
        members = [m for m in source.getmembers() if m.name.partition("/")[2].startswith("t/")]
        source.extractall(folder, members, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@contextmanager
def stock_redis(folder: Path) -> Iterator[int]:
    """Run one Redis server, for its port."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("there is no redis-server: install one (Debian: apt-get install redis-server)")
    (port,) = free_ports(1)
    command = [program, "--port", str(port), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        server.terminate()
        server.wait(10)


def run_suite(
    source: Path, url: str, redis_port: int, files: Sequence[str], wish: str, minutes: float
) -> Outcomes:
    """Run the integration tests with ``url`` as broker and backend; return each one's outcome."""
    report = source / "report.xml"
    report.unlink(missing_ok=True)
    paths = [f"t/integration/{name}.py" for name in files]
    options = ["-q", "-p", "plugin", "-p", "celery.contrib.pytest", "-p", "no:cacheprovider"]
    options += ["--timeout=60", f"--junitxml={report}", "-c", str(HERE / "pytest.ini")]
    options += [f"--rootdir={source}", *(["-k", wish] if wish else []), *paths]
    environ = os.environ | {
        "TEST_BROKER": url,
        "TEST_BACKEND": url,
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis_port),
        "PYTHONPATH": os.pathsep.join([str(source), str(HERE)]),
    }
    command = [sys.executable, "-m", "pytest", *options]
    suite = subprocess.Popen(command, cwd=source, env=environ)
    try:
        suite.wait(minutes * 60)
    except subprocess.TimeoutExpired:
        print(f"given up after {minutes} minutes", file=sys.stderr)
        suite.send_signal(signal.SIGINT)  # pytest then reports what it has
        suite.wait(30)
    return outcomes(report) if report.exists() else {}


def outcomes(report: Path) -> Outcomes:
    """Read a JUnit report: test → passed, failed, error or skipped."""
    words = {"failure": "failed", "error": "error", "skipped": "skipped"}
    found: Outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):  # we had it written
        if not case.get("name"):
            continue  # an interruption, no test
        name = f"{case.get('classname', '').rpartition('integration.')[2]}.{case.get('name')}"
        verdicts = [words[child.tag] for child in case if child.tag in words]
        found[name] = verdicts[0] if verdicts else "passed"
    return found


def compare(stock: Outcomes, ours: Outcomes) -> list[str]:
    """Return a line for each test that came out differently."""
    return [
        f"{name}: stock {stock.get(name, NOTHING)}, ours {ours.get(name, NOTHING)}"
        for name in sorted({*stock, *ours})
        if stock.get(name, NOTHING) != ours.get(name, NOTHING)
    ]


def main() -> int:
    """Run both, print both tables and the differences."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--only", action="append", choices=FILES, help="one file of the suite")
    arguments.add_argument("--minutes", type=float, default=20.0, help="most minutes for one run")
    arguments.add_argument("-k", default="", dest="wish", help="pytest's -k")
    given = arguments.parse_args()
    files = given.only or FILES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = download(folder)
        cluster = EmbeddedCluster(folder / "cluster")
        cluster.up(bound=True)
        results: dict[str, Outcomes] = {}
        with stock_redis(folder) as port:
            for title, url in (
                ("stock", f"redis://127.0.0.1:{port}/0"),
                ("ours", cluster.url()),
            ):
                began = time.monotonic()
                results[title] = run_suite(source, url, port, files, given.wish, given.minutes)
                table = ", ".join(
                    f"{n} {w}" for w, n in sorted(Counter(results[title].values()).items())
                )
                print(f"{title}: {table or NOTHING}, {time.monotonic() - began:.0f} s")
        cluster.down(delete=True)
    differences = compare(results["stock"], results["ours"])
    print("\n".join(["differences:", *differences]) if differences else "no differences")
    worse = [
        n for n, o in results["stock"].items() if o == "passed" and results["ours"].get(n) != o
    ]
    return 1 if worse or not results["ours"] else 0


if __name__ == "__main__":
    sys.exit(main())
