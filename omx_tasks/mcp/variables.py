"""The ``${…}`` of server files: ``${VAR}``, ``${VAR:-default}``, ``${env:VAR}``, ``${input:id}``.

They are resolved on the agent that starts the server, so that no secret ever travels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class UnresolvedError(ValueError):
    """A reference has neither a value nor a default; the message says what to set."""


@dataclass
class Variables:
    """Where values come from, and which ones were used.

    ``environ`` is the agent's environment, ``inputs`` the ``inputs`` of a VS Code file by id,
    ``folders`` the names that editors predefine. ``used`` collects what was put in: secrets.
    """

    environ: Mapping[str, str]
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set, repr=False)

    def fill(self, text: str) -> str:
        """Return ``text`` with every reference replaced; raises ``UnresolvedError``."""
        return _REFERENCE.sub(lambda match: self._value(match.group(1)), text)

    def _value(self, reference: str) -> str:
        if reference in self.folders and reference not in self.environ:
            return self.folders[reference]
        value = self._secret(reference)
        self.used.add(value)
        return value

    def _secret(self, reference: str) -> str:
        if reference.startswith("input:"):
            return self._input(reference.removeprefix("input:"))
        name, given, default = reference.removeprefix("env:").partition(":-")
        if not _PLAIN_NAME.fullmatch(name):
            raise UnresolvedError(
                f"${{{reference}}} is not understood; write ${{VAR}}, ${{VAR:-default}}, "
                "${env:VAR} or ${input:id}"
            )
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
        if variable in self.environ:
            return self.environ[variable]
        default = self.inputs.get(identifier, {}).get("default")
        if default is None:
            raise UnresolvedError(
                f"${{input:{identifier}}} has no value, and nobody can be asked in an unattended "
                f"run; set the environment variable {variable} where the agent runs, or give the "
                'input a "default"'
            )
        return str(default)


def input_variable(identifier: str) -> str:
    """Return the environment variable that answers the input ``identifier``."""
    return "OMX_INPUT_" + re.sub(r"[^A-Z0-9]", "_", identifier.upper())
