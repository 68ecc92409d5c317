"""``omx doctor``: every server of the file, this machine, the cluster and its agents, and what to do about them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict

import click
from rich.text import Text

from omx_tasks import settings
from omx_tasks.cli.output import config_option, duration, json_option, print_json, results, say
from omx_tasks.cli.target import known_url, system_file
from omx_tasks.errors import ConfigurationError, NotFoundError, did_you_mean
from omx_tasks.mcp import checkup, config
from omx_tasks.mcp.checkup import Checkup
from omx_tasks.mcp.config import ServerConfig, ServerFile
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.monitoring import machine
from omx_tasks.monitoring.machine import Finding

#: Servers that are started at once; more would be slow because of each other.
AT_ONCE = max(2, os.cpu_count() or 2)
_SIGNS = {"well": ("✔", "green"), "note": ("!", "yellow"), "wrong": ("✘", "red")}
#: Lines of a server's last words, and columns of a name and of what is said of it.
_LAST, _WIDEST, _NARROWEST = 6, 16, 30


@click.command()
@click.argument("server", required=False)
@config_option
@json_option
def doctor(server: str | None, mcp_config: str | None, as_json: bool) -> None:
    """Say what is wrong with this system, and what to do.

    Looks at servers, this machine, the cluster and its agents. Starts each server of the file (or the one that is
    named) as an agent on this machine would, and ends it again. The file is that of the system that is up here,
    unless --mcp-config names another.

    Exit code 0: all is well; 1: something is wrong.
    """
    servers, checkups = _servers(server, mcp_config, quiet=as_json)
    findings = machine.look(known_url(), settings.current(), servers) if server is None else []
    if server is None and servers is None:
        findings.insert(0, _no_file(mcp_config))
    wrong = [one for one in checkups if not one.well]
    wrong_here = [one for one in findings if one.state == "wrong"]
    if as_json:
        found = {one.server: checkup.as_json(one) for one in checkups}
        print_json({"servers": found, "machine": [asdict(one) for one in findings]})
    else:
        _print(servers, checkups, findings)
        click.echo(_verdict(checkups, len(wrong), len(wrong_here)))
    sys.exit(1 if wrong or wrong_here else 0)


def _servers(
    server: str | None, given: str | None, *, quiet: bool
) -> tuple[ServerFile | None, list[Checkup]]:
    """Return the server file, and how its servers are."""
    try:
        servers, mistakes = config.read(system_file(given))
    except ConfigurationError:
        if server is not None:
            raise
        return None, []
    names = [*servers.servers, *mistakes]
    if server is not None and server not in names:
        hint = did_you_mean(server, names)
        known = ", ".join(sorted(names)) or "none"
        raise NotFoundError(f"there is no server {server!r}.{hint} There are: {known}")
    asked = {name: one for name, one in servers.servers.items() if server in (None, name)}
    if asked and not quiet:
        say(f"starting {', '.join(asked)} …")
    found = {one.server: one for one in _look_at(asked)}
    for name, text in mistakes.items():
        if server in (None, name):
            said = text.removeprefix(f"{servers.path}: server {name!r}: ")
            found[name] = Checkup(name, "?", said, f"mend it in {servers.path}")
    return servers, [found[name] for name in sorted(found)]


def _look_at(servers: Mapping[str, ServerConfig]) -> list[Checkup]:
    loop = LoopThread()
    loop.start()
    try:
        return loop.run(_look_at_all(servers.values(), settings.current().server_start_timeout))
    finally:
        loop.stop()


async def _look_at_all(servers: Iterable[ServerConfig], deadline: float) -> list[Checkup]:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(server: ServerConfig) -> Checkup:
        async with places:
            return await checkup.look(server, deadline, os.environ)

    return list(await asyncio.gather(*map(one, servers)))


def _no_file(given: str | None) -> Finding:
    """Return why there is no server file."""
    try:
        config.read(system_file(given))
    except ConfigurationError as error:
        return Finding("server file", "wrong", str(error))
    return Finding("server file", "well", "readable")


def _print(servers: ServerFile | None, checkups: list[Checkup], findings: list[Finding]) -> None:
    page = _Page([one.server for one in checkups] + [one.name for one in findings])
    if servers is not None:
        page.title(f"servers of {servers.path}")
        for one in checkups:
            _print_server(page, one)
    if findings:
        page.title("this machine")
    for finding in findings:
        page.line(finding.state, finding.name, finding.text)
        if finding.remedy:
            page.more(f"→ {finding.remedy}", _SIGNS[finding.state][1])


def _print_server(page: _Page, one: Checkup) -> None:
    if one.well:
        page.line("note" if one.notes else "well", one.server, _speed(one))
        page.more(_offers(one), "dim")
    else:
        first, *others = str(one.wrong).splitlines()
        page.line("wrong", one.server, first)
        for other in others:
            page.more(other)
        if one.remedy:
            page.more(f"→ {one.remedy}", "red")
        for word in one.words.splitlines()[-_LAST:]:
            page.more(f"│ {word}", "dim")
    for note in one.notes:
        page.more(f"→ {note}", "yellow")


class _Page:
    """Lines with a sign and a name in front, and what belongs to them below, within the width."""

    def __init__(self, names: list[str]) -> None:
        self._console = results()
        self._width = min(_WIDEST, max(map(len, names), default=0))
        self._indent = self._width + 4

    def title(self, text: str) -> None:
        self._console.print(Text(text, style="bold"), soft_wrap=True)

    def line(self, state: str, name: str, text: str) -> None:
        """Print the first lines of one thing."""
        lead = Text.assemble(_SIGNS[state], " ", (name.ljust(self._width), "bold"), "  ")
        if len(name) > self._width:
            self._console.print(lead, soft_wrap=True)
            lead = Text(" " * self._indent)
        self._wrapped(lead, Text(text))

    def more(self, text: str, style: str = "") -> None:
        """Print what belongs to it."""
        self._wrapped(Text(" " * self._indent), Text(text, style=style))

    def _wrapped(self, lead: Text, text: Text) -> None:
        room = max(_NARROWEST, self._console.width - self._indent)
        for line in text.wrap(self._console, room):
            line.rstrip()
            self._console.print(lead + line, soft_wrap=True)
            lead = Text(" " * self._indent)


def _speed(one: Checkup) -> str:
    how = "starts" if one.transport == "stdio" else "connects"
    words = [f"{how} in {duration(one.cold)}, answers in {duration(one.warm)}"]
    words.append(f"protocol {one.protocol}")
    if one.pid is not None:
        noun = "process" if one.processes == 1 else "processes"
        words.append(f"{one.memory / 2**20:.0f} MiB, {one.processes} {noun}")
    return " · ".join(words)


def _offers(one: Checkup) -> str:
    words = [f"{_count(one.tools, 'tool')}: {one.reads} read"]
    if one.idempotent:
        words.append(f"{one.idempotent} idempotent")
    words.append(f"{one.tools - one.reads - one.idempotent} may write")
    others = [
        _count(number, noun)
        for number, noun in ((one.resources, "resource"), (one.prompts, "prompt"))
        if number
    ]
    return " · ".join([", ".join(words) if one.tools else "no tools", *others])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _verdict(checkups: list[Checkup], wrong: int, wrong_here: int) -> str:
    if not wrong and not wrong_here:
        return f"all is well: {_count(len(checkups), 'server')}"
    parts = [f"{wrong} of {_count(len(checkups), 'server')}"] if wrong else []
    if wrong_here:
        parts.append(f"{_count(wrong_here, 'thing')} on this machine")
    return f"wrong: {', '.join(parts)}"
