"""The record of what is up in a home."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from omx_tasks.errors import ConfigurationError
from omx_tasks.home import Home, System


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "omx")
    home.prepare()
    yield home
    home.release()


@pytest.fixture
def me():
    process = psutil.Process()
    return System(process.pid, process.create_time(), "url", "file", "digest", 2, 32, ready=True)


def test_the_environment_names_the_home():
    assert Home.of({"XDG_DATA_HOME": "/data"}).folder == Path("/data/omx")
    assert Home.of({}).folder == Path.home() / ".local" / "share" / "omx"


def test_what_is_written_is_read_until_it_is_cleared(home, me):
    assert home.read() is None
    home.write(me)
    assert home.read() == me
    home.clear()
    home.clear()
    assert home.read() is None


def test_a_record_of_a_dead_supervisor_says_that_none_is_up(home, me):
    ended = subprocess.run(
        [sys.executable, "-S", "-c", "import os; print(os.getpid())"], capture_output=True
    )
    home.write(replace(me, pid=int(ended.stdout)))
    assert home.read() is None


def test_a_record_whose_pid_was_taken_by_another_process_says_that_none_is_up(home, me):
    home.write(replace(me, started=me.started - 60))
    assert home.read() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_record_that_cannot_be_understood_says_that_none_is_up(home, text):
    (home.folder / "system.json").write_text(text)
    assert home.read() is None


def test_only_one_may_claim_a_home(home):
    home.claim()
    other = Home(home.folder)
    with pytest.raises(ConfigurationError, match="is up already"):
        other.claim()
    home.release()
    other.claim()
    other.release()


def test_a_claim_ends_with_its_process(home):
    script = "import os,sys; from omx_tasks.home import Home; from pathlib import Path; "
    script += "Home(Path(sys.argv[1])).claim(); os._exit(0)"
    subprocess.run([sys.executable, "-c", script, str(home.folder)], check=True, env=os.environ)
    home.claim()


def test_a_home_that_cannot_be_made_is_named_with_the_remedy(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot write to .*/file/omx.*XDG_DATA_HOME"):
        Home(tmp_path / "file" / "omx").prepare()
