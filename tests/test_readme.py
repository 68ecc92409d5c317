"""What the README says of settings and commands is so."""

from __future__ import annotations

from pathlib import Path

from omx_tasks.cli.main import COMMANDS
from omx_tasks.settings import PREFIX, Settings

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def row(name: str) -> str:
    """Return the table row of one setting, as the README must have it."""
    field = Settings.model_fields[name]
    default = field.default
    shown = "" if default is None else f"{default:g}" if isinstance(default, float) else default
    return f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |"


def test_the_settings_table_lists_every_setting_with_its_default_and_meaning() -> None:
    table = [line for line in README.splitlines() if line.startswith(f"| `{PREFIX}")]
    assert table == [row(name) for name in Settings.model_fields]


def test_every_omx_command_in_the_readme_exists() -> None:
    shown = [line for line in README.splitlines() if line.startswith("omx ")]
    words = {
        part.split()[1] for line in shown for part in line.split(";") if part.split()[0] == "omx"
    }
    assert words <= set(COMMANDS)
    assert {"check", "run", "up", "down"} <= words
