"""What npx would start is started without it, and only that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omx_tasks.mcp import launchers

PACKAGE = "@here/server-of-test"
#: What npx calls its folder for this package.
FOLDER = launchers._digest(PACKAGE)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """npm's cache with one package in it, and a node."""
    node = tmp_path / "bin" / "node"
    node.parent.mkdir()
    node.write_text("#!/bin/sh\n")
    node.chmod(0o755)
    modules = tmp_path / "home" / ".npm" / "_npx" / FOLDER / "node_modules"
    script = modules / PACKAGE / "dist" / "index.js"
    script.parent.mkdir(parents=True)
    script.write_text("#!/usr/bin/env node\n")
    about = {"name": PACKAGE, "bin": {"server": "dist/index.js"}}
    (modules / PACKAGE / "package.json").write_text(json.dumps(about))
    (modules / ".bin").mkdir()
    (modules / ".bin" / "server").symlink_to(script)
    return {"HOME": str(tmp_path / "home"), "PATH": str(node.parent)}


def test_npx_names_the_folder_as_it_does():
    assert launchers._digest("@modelcontextprotocol/server-everything") == "5b2dd62b9d0bddd4"
    assert launchers._digest("@modelcontextprotocol/server-memory") == "15b07286cbcc3329"


@pytest.mark.parametrize(
    "args",
    [
        ["-y", PACKAGE, "--root", "/x"],
        ["-p", PACKAGE, "server", "--root", "/x"],
        [f"--package={PACKAGE}", "--yes", "--", "server", "--root", "/x"],
    ],
)
def test_what_is_in_the_cache_is_started_with_node(env, tmp_path, args):
    command, rest = launchers.direct("/usr/bin/npx", args, env, str(tmp_path))
    assert command == f"{env['PATH']}/node"
    assert [Path(rest[0]).name, *rest[1:]] == ["index.js", "--root", "/x"]


@pytest.mark.parametrize(
    "args",
    [
        ["-y", "not-installed"],
        ["-y", f"{PACKAGE}@latest"],
        ["--registry=https://example.org", PACKAGE],
        ["-c", "echo"],
        [],
    ],
)
def test_all_else_is_left_to_npx(env, tmp_path, args):
    assert launchers.direct("npx", args, env, str(tmp_path)) == ("npx", args)


def test_a_package_of_the_working_folder_is_left_to_npx(env, tmp_path):
    (tmp_path / "node_modules" / PACKAGE).mkdir(parents=True)
    args = ["-y", PACKAGE]
    assert launchers.direct("npx", args, env, str(tmp_path)) == ("npx", args)


def test_a_damaged_cache_is_left_to_npx(env, tmp_path):
    about = Path(env["HOME"], ".npm", "_npx", FOLDER, "node_modules", PACKAGE, "package.json")
    about.write_text("{")
    args = ["-y", PACKAGE]
    assert launchers.direct("npx", args, env, str(tmp_path)) == ("npx", args)


def test_other_programs_are_started_as_they_are(env):
    assert launchers.direct("node", ["-y"], env, None) == ("node", ["-y"])
