"""The ``${…}`` of server files: ``${VAR}``, ``${VAR:-default}``, ``${env:VAR}``, ``${input:id}``.

Beside these are the names that editors predefine, such as ``${workspaceFolder}``. All of them are resolved on the
agent that starts the server, so that no secret ever travels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EDITOR_FOLDERS = (".vscode", ".cursor")
#: What every environment has, and what nobody hides.
_EVERYDAY = frozenset(
    ("HOME", "HOSTNAME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR", "USER")
)
#: What only a running editor, or the one who installs a bundle, can answer.
_OF_AN_EDITOR = ("config:", "command:", "extensionInstallFolder:", "user_config.")


class UnresolvedError(ValueError):
    """A reference has neither a value nor a default; the message says what to set."""


@dataclass
class Variables:
    """Where values come from, and which ones were used.

    ``environ`` is the agent's environment, ``inputs`` the ``inputs`` of a VS Code file by id,
    ``predefined`` the names that editors know. ``used`` collects what was put in: secrets.
    """

    environ: Mapping[str, str]
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    predefined: Mapping[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set, repr=False)

    def fill(self, text: str) -> str:
        """Return ``text`` with every reference replaced; raises ``UnresolvedError``."""
        return _REFERENCE.sub(lambda match: self._value(match.group(1)), text)

    def _value(self, reference: str) -> str:
        name = reference.partition(":-")[0]
        if name in self.predefined and name not in self.environ:
            return self.predefined[name]
        value = self._secret(reference)
        if name.removeprefix("env:") not in _EVERYDAY:
            self.used.add(value)
        return value

    def _secret(self, reference: str) -> str:
        if reference.startswith("input:"):
            return self._input(reference.removeprefix("input:"))
        name, given, default = reference.removeprefix("env:").partition(":-")
        if not _PLAIN_NAME.fullmatch(name):
            raise UnresolvedError(_not_understood(reference))
        value = self.environ.get(name, "")
        if given:
            return value or default
        if name not in self.environ:
            raise UnresolvedError(
                f"${{{reference}}} has no value; set the environment variable {name} where the "
                f"agent runs, or give a default: ${{{name}:-…}}"
            )
        return value

    def _input(self, identifier: str) -> str:
        variable = input_variable(identifier)
        about = self.inputs.get(identifier, {})
        value = self.environ.get(variable, about.get("default"))
        if value is None:
            raise UnresolvedError(
                f"${{input:{identifier}}} has no value, and nobody can be asked in an unattended "
                f"run; set the environment variable {variable} where the agent runs, or give the "
                'input a "default"'
            )
        _check_choice(identifier, variable, str(value), about.get("options"))
        return str(value)


def input_variable(identifier: str) -> str:
    """Return the environment variable that answers the input ``identifier``."""
    return "OMX_INPUT_" + re.sub(r"[^A-Z0-9]", "_", identifier.upper())


def predefined(path: Path) -> dict[str, str]:
    """Return what editors put in by themselves, for a server file at ``path``."""
    folder = path.parent
    workspace = folder.parent if folder.name in _EDITOR_FOLDERS else folder
    return {
        "workspaceFolder": str(workspace),
        "workspaceFolderBasename": workspace.name,
        "CLAUDE_PROJECT_DIR": str(workspace),
        "userHome": str(Path.home()),
        "pathSeparator": os.sep,
        "/": os.sep,
    }


def _check_choice(identifier: str, variable: str, value: str, options: Any) -> None:
    """Refuse what is none of the options of a ``pickString``: texts, or objects with a ``value``."""
    if not isinstance(options, list):
        return
    known = [str(one.get("value", "") if isinstance(one, dict) else one) for one in options]
    if value not in known:
        raise UnresolvedError(
            f"${{input:{identifier}}} is none of its options; set {variable} to one of: "
            f"{', '.join(known)}"
        )


def _not_understood(reference: str) -> str:
    editors = reference.startswith(_OF_AN_EDITOR)
    why = "can only be answered by an editor" if editors else "is not understood"
    return (
        f"${{{reference}}} {why}; write ${{VAR}}, ${{VAR:-default}}, ${{env:VAR}} or ${{input:id}}"
    )
