"""What is delivered for containers is in order, and a mistake planted in it is caught. No engine is needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from engine import compose_program
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2]
COMPOSE = PROJECT / "compose"
NODES = {f"node-{port}" for port in range(7000, 7006)}


def compose(file: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [compose_program(), "-f", str(file), *words],
        env={"PATH": os.environ["PATH"], "HOME": str(file.parent), **environ},
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A copy of what is delivered, to which nothing has happened."""
    for path in COMPOSE.iterdir():
        if path.is_file() and path.name != ".env":
            shutil.copy(path, tmp_path)
    return tmp_path / "compose.yaml"


@pytest.fixture
def services(file: Path) -> dict[str, Any]:
    words = ("--profile", "full", "config", "--format", "json")
    done = compose(file, *words, SECRETS="./secrets")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def test_without_passwords_it_is_said_how_to_make_them(file: Path) -> None:
    done = compose(file, "config", "-q")
    assert done.returncode != 0
    assert "there are no passwords yet, run compose/secrets.sh first" in done.stderr
    made = subprocess.run([file.parent / "secrets.sh"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert compose(file, "config", "-q").returncode == 0
    first = (file.parent / "secrets" / "cluster").read_text()
    assert re.fullmatch("[0-9a-f]{48}", first)
    subprocess.run([file.parent / "secrets.sh"], capture_output=True, check=True)
    assert (file.parent / "secrets" / "cluster").read_text() == first


def test_a_mistake_in_the_compose_file_is_caught(file: Path) -> None:
    text = file.read_text()
    for right, wrong in (
        ("stop_grace_period: 90s", "stop_grace_period: soon"),
        ("node-7003:/data", "node-7303:/data"),
        ("healthcheck: {disable", "healthchecks: {disable"),
    ):
        assert right in text
        file.write_text(text.replace(right, wrong))
        assert compose(file, "config", "-q", SECRETS="./secrets").returncode != 0, wrong


def test_the_minimum_is_a_cluster_agents_and_a_door(file: Path) -> None:
    done = compose(file, "config", "--services", SECRETS="./secrets")
    expected = NODES | {"cluster", "agent", "coordinator", "haproxy"}
    assert set(done.stdout.split()) == expected


def test_every_port_is_on_the_loopback_and_every_program_is_confined(
    services: dict[str, Any],
) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    assert {str(port) for port in range(7000, 7006)} <= {port["published"] for port in ports}
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["stop_grace_period"] if name != "cluster" else True, name


def test_all_that_is_mounted_is_delivered(file: Path, services: dict[str, Any]) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                source = COMPOSE / Path(volume["source"]).relative_to(file.parent)
                assert source.exists(), (name, source)


def test_no_password_is_in_an_environment_or_a_command(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for variable in service.get("environment") or {}:
            secret = re.search("PASSWORD|SECRET|TOKEN|AUTH", variable)
            assert not secret or variable.endswith("_FILE"), (name, variable)
        assert "@" not in str(service.get("environment", {}).get("OMX_BROKER_URL", "")), name
    assert services["node-7000"]["command"][-1] == "/data"


haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="no haproxy on this machine")


def check(config: Path) -> subprocess.CompletedProcess[str]:
    command = ["haproxy", "-c", "-f", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@haproxy
def test_the_proxys_configuration_is_valid_and_a_mistake_in_it_is_caught(file: Path) -> None:
    config = file.parent / "haproxy.cfg"
    done = check(config)
    assert done.returncode == 0, done.stderr
    text = config.read_text()
    for right, wrong in (
        ("default_backend whole", "default_backend hole"),
        ("tcp-check expect string", "tcp-check expects string"),
        ("resolvers docker check", "resolvers dockers check"),
    ):
        assert right in text
        config.write_text(text.replace(right, wrong))
        assert check(config).returncode != 0, wrong


def test_the_lock_file_has_what_the_project_needs() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    locked = dict(re.findall(r"^(\S+?)==(\S+)", (COMPOSE / "requirements.lock").read_text(), re.M))
    wanted = [*project["dependencies"], *extras["embedded"], *extras["container"]]
    for requirement in map(Requirement, wanted):
        if requirement.name != project["name"]:
            version = locked[requirement.name.lower().replace("_", "-")]
            assert requirement.specifier.contains(version), f"{requirement}: make lock"


def test_no_lock_file_names_a_place_to_download_from() -> None:
    for lock in COMPOSE.glob("*.lock"):
        assert "://" not in lock.read_text(), lock
