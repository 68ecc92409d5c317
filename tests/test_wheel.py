"""A wheel that is built and installed elsewhere finds its scripts, examples and programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Seconds for each program: to build a wheel and to install it is slow on a busy machine.
SECONDS = 200
pytestmark = pytest.mark.timeout(3 * SECONDS)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs' folder of an environment with the wheel, not the checkout, installed."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, timeout=SECONDS, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "env"
    venv.create(environment, with_pip=False)
    own = sysconfig.get_path("purelib", vars={"base": str(environment)})
    # What the wheel depends on comes from here; a plain path line does not bring the checkout along.
    Path(own, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = ["--python", str(environment / "bin" / "python"), "install", "--no-deps", str(wheel)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, *install], check=True, timeout=SECONDS, capture_output=True)
    return environment / "bin"


def run(folder: Path, *command: str) -> str:
    """Run a program of the environment, away from the checkout, and return what it printed."""
    away = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(folder / command[0]), *command[1:]],
        env=away,
        cwd=folder,
        check=True,
        timeout=SECONDS,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_the_installed_package_is_the_one_that_is_imported(elsewhere: Path) -> None:
    """Otherwise the next test would prove nothing."""
    where = run(elsewhere, "python", "-c", "import omx_tasks, workers; print(omx_tasks.__file__)")
    assert Path(where.strip()).is_relative_to(elsewhere.parent)


def test_the_demo_runs_from_a_wheel(elsewhere: Path) -> None:
    """It needs the Lua scripts, the example graph and notes, and the programs of ``workers``."""
    assert "speed-up" in run(elsewhere, "omx", "demo")


def test_the_templates_are_found_in_a_wheel(elsewhere: Path) -> None:
    assert (
        len(json.loads(run(elsewhere, "omx", "agents", "templates", "--json"))["templates"]) == 54
    )
