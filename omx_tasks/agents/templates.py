"""Templates: what an agent of a kind offers, and what it may hold. One TOML file each, named after the template.

::

    purpose = "Reads changes with their history and says what is wrong with them."
    capabilities = ["code_review", "security_audit"]     # words that operations may require
    servers = ["filesystem", "git"]                      # roles, filled by servers of the user's file (see `profile`)
    slots = 32                                           # operations that one agent runs at once
    priorities = ["P0", "P1", "P2"]                      # what is as urgent as this; all else is left to others
    memory = "512MiB"                                    # what one agent and its servers may use together
    warm = {min = 1, max = 6, idle = 600}                # agents at least and at most; seconds of rest that end one
    replaces = false                                     # true in a user's file that stands for a shipped one

All keys but the last must be there: whoever writes a template decides each of them. 54 are shipped
(``workers/templates``); a folder of the user's own (``OMX_TEMPLATES``) adds to them. There, a name that is shipped is
refused unless the file says that it ``replaces`` it, so that neither shadows the other by chance.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from omx_tasks import sizes
from omx_tasks.errors import ConfigurationError, NotFoundError, did_you_mean
from omx_tasks.priorities import Priority

#: The name of the profile that is no template: all servers of the file, all words of the catalogue.
EVERYTHING = "everything"
#: Names that one might expect to be shipped, and who does their work.
LEFT_OUT: Mapping[str, tuple[tuple[str, ...], str]] = {
    "release-swarm": (
        ("release-manager",),
        "a release in several at once is one agent's work with several slots",
    ),
    "swarm-init": (
        ("hierarchical-coordinator", "topology-optimizer", "resource-allocator"),
        "each of its words is the daily work of one of these",
    ),
    "swarm-issue": (("issue-tracker",), "to split an issue takes the same servers as to write one"),
    "swarm-pr": (("pr-manager",), "it follows several pull requests as it follows one"),
}

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_WORD = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_ROLE = re.compile(r"[^\s{},*]([^{},*\r\n\t]*[^\s{},*])?")


def _lines_joined(value: Any) -> Any:
    return " ".join(value.split()) if isinstance(value, str) else value


def _words(value: Any) -> Any:
    for word in _distinct(value):
        if not _WORD.fullmatch(word):
            raise ValueError(f"{word!r} is not in snake_case: small letters, digits and _")
    return value


def _roles(value: Any) -> Any:
    for role in _distinct(value):
        if not _ROLE.fullmatch(role):
            raise ValueError(f"{role!r} cannot be the name of a server")
    return value


def _priorities(value: Any) -> Any:
    names = _distinct(value)
    for name in names:
        if name not in Priority.__members__:
            raise ValueError(f"{name!r} is no priority: there are P0, P1, P2 and P3")
    return tuple(sorted(Priority[name] for name in names))


def _distinct(value: Any) -> list[str]:
    """Return a list of texts that is not empty and has none twice."""
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise ValueError("write a list of at least one text")
    twice = next((one for one in value if value.count(one) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} is given twice")
    return value


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Warm(_Model):
    """``min`` agents are kept warm, there are at most ``max``; one too many goes after ``idle`` seconds of rest."""

    min: int = Field(ge=0)
    max: int = Field(ge=1)
    idle: float = Field(gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> Warm:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class Template(_Model):
    """What one file says, under the name of the file. ``servers`` are roles, ``memory`` is in bytes."""

    name: str
    purpose: Annotated[str, BeforeValidator(_lines_joined)] = Field(min_length=1)
    capabilities: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(strict=False)
    servers: Annotated[tuple[str, ...], BeforeValidator(_roles)] = Field(strict=False)
    slots: int = Field(ge=1, le=10_000)
    priorities: Annotated[tuple[Priority, ...], BeforeValidator(_priorities)]
    memory: Annotated[int, BeforeValidator(sizes.parse)]
    warm: Warm
    replaces: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` shows."""
        data = self.model_dump(mode="json", exclude={"replaces"})
        return {**data, "priorities": [priority.name for priority in self.priorities]}


class Catalogue(Mapping[str, Template]):
    """Templates by name."""

    def __init__(self, templates: Iterable[Template]) -> None:
        self._templates = {one.name: one for one in sorted(templates, key=lambda one: one.name)}
        #: Every capability word that a template has.
        self.words = frozenset(word for one in self.values() for word in one.capabilities)

    def __repr__(self) -> str:
        return f"<Catalogue {len(self)} templates, {len(self.words)} words>"

    def __getitem__(self, name: str) -> Template:
        return self._templates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._templates)

    def __len__(self) -> int:
        return len(self._templates)

    def find(self, name: str) -> Template:
        """Return the template of that name, or raise `NotFoundError` that says which might be meant."""
        if name in self:
            return self[name]
        if name in LEFT_OUT:
            instead, why = LEFT_OUT[name]
            raise NotFoundError(f"{name} is no template: take {' or '.join(instead)}, since {why}")
        hint = did_you_mean(name, self)
        raise NotFoundError(
            f"there is no template {name!r}.{hint} `omx agents templates` lists them"
        )


@cache
def load(folder: Path | None = None) -> Catalogue:
    """Read the shipped templates, and those of the user's own ``folder``; raises `ConfigurationError`."""
    shipped = {one.name: one for one in map(_read, _files(files("workers") / "templates"))}
    own = {} if folder is None else _own(folder, shipped)
    return Catalogue({**shipped, **own}.values())


def _own(folder: Path, shipped: Mapping[str, Template]) -> dict[str, Template]:
    if not folder.is_dir():
        raise ConfigurationError(f"OMX_TEMPLATES: there is no folder {folder}")
    own: dict[str, Template] = {}
    for file in _files(folder):
        template = own[file.name.removesuffix(".toml")] = _read(file)
        if template.replaces != (template.name in shipped):
            said, remedy = (
                ("replaces: there is no shipped template of that name", "leave it out")
                if template.replaces
                else (
                    "there is a shipped template of that name",
                    "rename it, or say `replaces = true`",
                )
            )
            raise ConfigurationError(f"{file}: {said}; {remedy}")
    if not own:
        raise ConfigurationError(f"OMX_TEMPLATES: {folder} has no file *.toml")
    return own


def _files(folder: Path | Traversable) -> list[Path | Traversable]:
    found = [file for file in folder.iterdir() if file.name.endswith(".toml")]
    return sorted(found, key=lambda file: file.name)


def _read(file: Path | Traversable) -> Template:
    """Read one file; every error begins with its name, and names the key."""
    name = file.name.removesuffix(".toml")
    if not _NAME.fullmatch(name) or name == EVERYTHING:
        raise ConfigurationError(
            f"{file}: {name!r} cannot be a template's name: small letters, digits and - "
            f"({EVERYTHING!r} is taken)"
        )
    try:
        keys = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file}: not TOML: {error}") from error
    if "name" in keys:
        raise ConfigurationError(f"{file}: name: leave it out; the file's name is the template's")
    try:
        return Template(**{"name": name, **keys})
    except ValidationError as error:
        raise ConfigurationError("\n".join(_problems(file, error))) from error


def _problems(file: Path | Traversable, error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        known = Warm.model_fields if key.startswith("warm.") else Template.model_fields
        match problem["type"]:
            case "missing":
                said = "is missing"
            case "extra_forbidden":
                last = key.rpartition(".")[2]
                hint = did_you_mean(last, known)
                others = ", ".join(one for one in known if one != "name")
                said = f"is no key of a template.{hint or f' There are: {others}'}"
            case "value_error":
                said = str(problem["ctx"]["error"])
            case _:
                said = problem["msg"]
        yield f"{file}: {key}: {said}"
