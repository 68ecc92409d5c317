"""The stored Lua scripts: one file an operation, loaded from the package, called by their digest.

A script's file name ends in its version (``claim_1.lua``): old and new agents run side by side during a
rolling upgrade, each with its own text. ``--@include NAME`` puts another file's text in its place. Every script
has at least one key, all keys carry one hash tag, and all are passed in KEYS: a script without keys would go
to any node, and one that spells its own keys would break on the second node.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

_INCLUDE = re.compile(r"^--@include (\w+)$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """A Lua script with its digest."""

    name: str
    text: str
    digest: str


@dataclass(frozen=True)
class Call:
    """A script with the keys and arguments of one call; the first key decides the node.

    ``durable``: the answer counts only when the write outlives its master, as the store's `Durability` says. Such a
    script writes something on each run (see ``confirmer.py``). ``patient``: a server whose memory is full is asked
    again until the request's time is over, since nobody could make up for a refusal.
    """

    script: Script
    keys: Sequence[str]
    arguments: Sequence[Any] = ()
    durable: bool = False
    patient: bool = False

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError(f"the script {self.script.name} needs at least one key")

    def by_digest(self) -> tuple[Any, ...]:
        """Return the command for a server that has the script."""
        return ("EVALSHA", self.script.digest, len(self.keys), *self.keys, *self.arguments)

    def by_text(self) -> tuple[Any, ...]:
        """Return the command that also teaches the server the script."""
        return ("EVAL", self.script.text, len(self.keys), *self.keys, *self.arguments)


@cache
def script(name: str) -> Script:
    """Return the script of file ``lua/NAME.lua``."""
    text = _text(name)
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, digest)


def _text(name: str) -> str:
    source = (resources.files("omx_tasks.store") / "lua" / f"{name}.lua").read_text("utf-8")
    return _INCLUDE.sub(lambda match: _text(match[1]), source)
