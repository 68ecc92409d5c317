"""Starts what ``npx`` would start, without ``npx``: it costs half a second, and stays beside the server for its life.

::

    npx -y PACKAGE … ──► in npx's cache? ── yes ──► node SCRIPT …
                                       └── no, or anything unusual ──► npx, as it is written

npx keeps what it installed in a folder named after the packages that were asked for. Only what is there is started
directly: npx itself installs what is not, and the next start is direct. What npx would not take from there is left to
it: a tag such as ``@latest``, for which it asks the registry, and a package that the working folder has installed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

#: A package of the registry: its name, perhaps scoped, and a version or a range behind it.
_SPEC = re.compile(r"((?:@[\w.~-]+/)?[\w.~-]+)(?:@([\^~<>=v]*\d[\w.+-]*))?")
_QUIET = frozenset({"-y", "--yes", "-q", "--quiet"})


@dataclass(frozen=True)
class _Asked:
    """What npx is asked for: a package, one of its programs (None: the only one), and that one's arguments."""

    spec: str
    package: str
    program: str | None
    args: tuple[str, ...]


def direct(
    command: str, args: Sequence[str], env: Mapping[str, str], cwd: str | None
) -> tuple[str, Sequence[str]]:
    """Return the program and arguments to start instead of these; the same where there is nothing better."""
    if Path(command).name != "npx":
        return command, args
    try:
        found = _found(args, env, Path(cwd or Path.cwd()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        logger.info("npx starts %s, which could not be looked up: %s", " ".join(args[:2]), error)
        return command, args
    if found is None:
        logger.info("npx starts %s: not in its cache as it is asked for", " ".join(args[:2]))
        return command, args
    return found


def _found(
    args: Sequence[str], env: Mapping[str, str], cwd: Path
) -> tuple[str, Sequence[str]] | None:
    asked = _asked(args)
    if asked is None or _is_installed_here(asked, env, cwd):
        return None
    folder = _cache(env) / "_npx" / _digest(asked.spec) / "node_modules"
    program = asked.program or _only_program(folder / asked.package / "package.json")
    if program is None:
        return None
    script = (folder / ".bin" / program).resolve(strict=True)
    with script.open("rb") as stream:
        is_script = b"node" in stream.readline(200) or script.suffix in (".js", ".mjs", ".cjs")
    node = shutil.which("node", path=env.get("PATH"))
    if not is_script or node is None:
        return None
    return node, (str(script), *asked.args)


def _asked(args: Sequence[str]) -> _Asked | None:
    """Read npx's command line; None where it says what is not known here."""
    words, spec = list(args), ""
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word in ("-p", "--package") and words and not spec:
            spec = words.pop(0)
        elif word.startswith("--package=") and not spec:
            spec = word.partition("=")[2]
        elif word == "--":
            break
        elif word not in _QUIET:
            return None
    if not words:
        return None
    program = words[0] if spec else None
    spec = spec or words[0]
    named = _SPEC.fullmatch(spec)
    return _Asked(spec, named[1], program, tuple(words[1:])) if named else None


def _is_installed_here(asked: _Asked, env: Mapping[str, str], cwd: Path) -> bool:
    """Whether npx would take something else than what is in its cache."""
    if shutil.which(asked.program or asked.package, path=env.get("PATH")):
        return True
    return any((folder / "node_modules" / asked.package).is_dir() for folder in (cwd, *cwd.parents))


def _cache(env: Mapping[str, str]) -> Path:
    """Return npm's cache: from the environment, the user's own settings, or where it is by default."""
    if named := env.get("npm_config_cache") or env.get("NPM_CONFIG_CACHE"):
        return Path(named)
    home = Path(env.get("HOME") or Path.home())
    settings = home / ".npmrc"
    if settings.is_file():
        for line in settings.read_text("utf-8").splitlines():
            key, _, value = (part.strip() for part in line.partition("="))
            if key == "cache":
                return Path(value.strip("\"'").replace("${HOME}", str(home))).expanduser()
    return home / ".npm"


def _digest(spec: str) -> str:
    """Return the name of npx's folder for this package."""
    return hashlib.sha512(spec.encode()).hexdigest()[:16]


def _only_program(about: Path) -> str | None:
    """Return which program npx starts of a package: the only one, or that of the same name."""
    described = json.loads(about.read_text("utf-8"))
    own = str(described["name"]).rpartition("/")[2]
    programs = described.get("bin")
    if isinstance(programs, str):
        return own
    if not isinstance(programs, dict):
        return None
    if len(set(programs.values())) == 1:
        return str(next(iter(programs)))
    return own if own in programs else None
