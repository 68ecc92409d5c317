"""``omx agents templates``: what agents can be started, and what each of them would hold of your servers."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from textwrap import wrap
from typing import Any

import click
from rich.text import Text

from omx_tasks import settings
from omx_tasks.agents import templates as catalogues
from omx_tasks.agents.matcher import spelled
from omx_tasks.agents.profile import filled, roles_of
from omx_tasks.agents.templates import LEFT_OUT, Catalogue, Template
from omx_tasks.cli.output import config_option, json_option, print_json, results, say
from omx_tasks.cli.target import server_file
from omx_tasks.errors import ConfigurationError
from omx_tasks.priorities import Priority

#: Columns of what is said of one template, and how far that stands from the edge.
WIDEST, INDENT = 110, 2
#: Columns of a name; the few longer ones push their line to the right, rather than all others.
NAME = 24


@click.command()
@click.argument("name", required=False)
@config_option
@json_option
def templates(name: str | None, mcp_config: str | None, as_json: bool) -> None:
    """List the templates that agents are made from, or show one.

    Each with what it offers, the servers that it holds (those in red are not in your server file), slots, the
    priorities it serves, and how many agents are kept warm and may be at most.
    """
    catalogue = catalogues.load(settings.current().templates)
    roles = _roles(mcp_config)
    if name is not None:
        template = catalogue.find(name)
        filling = None if roles is None else filled(template, roles)
        if as_json:
            print_json({**template.as_json(), "filled": filling})
        else:
            _show(template, filling)
    elif as_json:
        left_out = {one: {"instead": them, "why": why} for one, (them, why) in LEFT_OUT.items()}
        told = [template.as_json() for template in catalogue.values()]
        print_json({"templates": told, "left_out": left_out})
    else:
        _list(catalogue, roles)


def _roles(mcp_config: str | None) -> Mapping[str, frozenset[str]] | None:
    """Return the roles that the servers of the file fill; None where there is none, and none was asked for."""
    try:
        return roles_of(server_file(mcp_config).servers)
    except ConfigurationError:
        if mcp_config or settings.current().mcp_config:
            raise
        return None


def _list(catalogue: Catalogue, roles: Mapping[str, frozenset[str]] | None) -> None:
    console = results()
    width = min(WIDEST, shutil.get_terminal_size().columns)
    console.print(_line("template", "slots", "serves", "warm", Text("servers"), "dim"))
    for template in catalogue.values():
        filling = None if roles is None else filled(template, roles)
        warm = f"{template.warm.min}-{template.warm.max}"
        numbers = (str(template.slots), spelled(template.priorities), warm)
        line = _line(template.name, *numbers, _servers(template, filling), "bold")
        console.print(line, soft_wrap=True)
        console.print(_paragraph(template.purpose, width), soft_wrap=True)
        words = ", ".join(template.capabilities)
        console.print(_paragraph(words, width), style="dim", soft_wrap=True)
    console.print("\nLeft out:", style="dim")
    for name, (instead, why) in LEFT_OUT.items():
        said = f"{name}: {' or '.join(instead)} instead, since {why}"
        console.print(_paragraph(said, width), style="dim", soft_wrap=True)
    say(f"{len(catalogue)} templates; one in full: omx agents templates NAME")


def _paragraph(text: str, width: int) -> Text:
    edge = " " * INDENT
    lines = wrap(text, width, initial_indent=edge, subsequent_indent=edge, break_on_hyphens=False)
    return Text("\n".join(lines))


def _line(name: str, slots: str, serves: str, warm: str, servers: Text, style: str) -> Text:
    line = Text(f"{name:<{NAME}}", style=style)
    rest = Text(f"  {slots:>5}  {serves:<6}  {warm:<4} ", style="dim" if style == "dim" else "")
    return Text.assemble(line, rest, servers)


def _servers(template: Template, filling: Mapping[str, list[str]] | None) -> Text:
    """Return the roles, those in red that no server of the file fills."""
    words = [
        Text(role, style="" if filling is None or filling[role] else "red")
        for role in template.servers
    ]
    return Text(" ").join(words)


def _show(template: Template, filling: Mapping[str, list[str]] | None) -> None:
    console = results()
    console.print(Text(template.name, style="bold"))
    console.print(Text(template.purpose))
    warm = template.warm
    rows: list[tuple[str, Any]] = [
        ("capabilities", ", ".join(template.capabilities)),
        *_role_rows(template, filling),
        ("slots", f"{template.slots} operations at once"),
        ("serves", _priorities(template)),
        (
            "warm",
            f"{warm.min} to {warm.max} agents; one too many goes after {warm.idle:g} s of rest",
        ),
        ("memory", f"{template.memory / 2**20:g} MiB for one agent and its servers"),
        ("start some", f"omx agent start {template.name}"),
    ]
    for title, text in rows:
        console.print(Text.assemble((f"{title:<14}", "dim"), text), soft_wrap=True)


def _priorities(template: Template) -> str:
    others = [one.name for one in Priority if one not in template.priorities]
    left = f" ({' and '.join(others)} left to others)" if others else ""
    return spelled(template.priorities) + left


def _role_rows(
    template: Template, filling: Mapping[str, list[str]] | None
) -> Iterable[tuple[str, Text]]:
    """Yield a row for each role, with the servers that fill it."""
    for position, role in enumerate(template.servers):
        title = "servers" if position == 0 else ""
        if filling is None:
            yield title, Text(role)
        elif filling[role]:
            yield (
                title,
                Text.assemble(f"{role:<11} ", ("filled by " + ", ".join(filling[role]), "green")),
            )
        else:
            yield title, Text.assemble(f"{role:<11} ", ("not in your server file", "red"))
