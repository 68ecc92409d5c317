"""The ``envFile`` of Cursor and VS Code: variables of a server, a line each, ``NAME=value``."""

from __future__ import annotations

from pathlib import Path

from dotenv import dotenv_values


def read(path: Path) -> dict[str, str]:
    """Return the variables; raises ``ValueError`` that says what is wrong with the file."""
    path = path.expanduser()
    if not path.is_file():
        raise ValueError(f"envFile: there is no file {path}")
    try:
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"envFile: {path} cannot be read: {error}") from error
    return {name: value for name, value in values.items() if value is not None}
