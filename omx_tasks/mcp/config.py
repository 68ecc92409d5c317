"""The user's own server file, unchanged, in any of the dialects that hosts read.

``mcpServers`` (Claude Desktop, Claude Code, Cursor) or ``servers`` with ``inputs`` (VS Code). Keys
that are not known are left alone. Values stay as written until ``ServerConfig.resolved``, which an
agent calls just before it starts the server.

``read`` leaves out what is wrong and says so, for who wants to see all of it; ``load`` refuses a file with a
mistake in it. Variables that have no value here are no mistake of the file: see ``check_variables``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from omx_tasks.errors import ConfigurationError, did_you_mean
from omx_tasks.logs import masking
from omx_tasks.mcp import access, envfile, hints, jsonc
from omx_tasks.mcp.access import Access, Fill
from omx_tasks.mcp.hints import Hints
from omx_tasks.mcp.variables import Variables, predefined

Transport: TypeAlias = Literal["stdio", "http", "sse"]

EXAMPLE = '{"mcpServers": {"time": {"command": "python", "args": ["-m", "mcp_server_time"]}}}'
NAMES = (".mcp.json", "mcp.json")

_SECTIONS = ("mcpServers", "servers")
_TRANSPORTS: dict[str, Transport] = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamableHttp": "http",
    "sse": "sse",
}
_URL_KEYS = ("url", "httpUrl", "serverUrl")
# Names become part of queue names, in which braces, commas and line breaks have a meaning.
_NAME = re.compile(r"[^\s{},*]([^{},*\r\n\t]*[^\s{},*])?")


@dataclass(frozen=True)
class ServerConfig:
    """How one server is started or reached. ``repr`` shows no value that may be a secret."""

    name: str
    path: Path
    transport: Transport
    command: str = ""
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    env_file: str | None = None
    cwd: str | None = None
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    hints: Hints = field(default_factory=Hints)
    access: Access = field(default_factory=Access, repr=False)
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    is_resolved: bool = False
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    def resolved(self, environ: Mapping[str, str]) -> ServerConfig:
        """Return the same server with every ``${…}`` replaced; its secrets are in no log of this process from now on.

        ``environ`` is the environment of the agent that starts it. Raises ``ConfigurationError``
        naming file, server, key and variable, of all that have no value.
        """
        if self.is_resolved:
            return self
        variables = Variables(environ, self.inputs, predefined(self.path))
        mistakes: list[str] = []

        def fill(key: str, text: str) -> str:
            try:
                return variables.fill(text)
            except ValueError as error:
                mistakes.append(f"{key}: {error}")
                return text

        whole = self._filled(fill, mistakes)
        if mistakes:
            lines = [str(_mistake(self.path, self.name, text)) for text in dict.fromkeys(mistakes)]
            raise ConfigurationError("\n".join(lines))
        own = (variables.used, whole.headers.values(), whole.access.secrets)
        for secrets in (*own, masking.secrets_of(whole.env)):
            masking.remember(secrets)
        given = (*own, whole.env.values())
        return replace(
            whole, is_resolved=True, secrets=frozenset(value for some in given for value in some)
        )

    def _filled(self, fill: Fill, mistakes: list[str]) -> ServerConfig:
        """Replace what is to be replaced; what is wrong with the outcome is added to ``mistakes``."""
        folder = self.path.parent
        env = {key: fill(f"env.{key}", value) for key, value in self.env.items()}
        entrance = self.access
        try:
            if self.env_file is not None:
                env = {**envfile.read(folder / fill("envFile", self.env_file)), **env}
            entrance = self.access.filled(fill)
        except ValueError as error:
            mistakes.append(str(error))
        ca = None if entrance.ca is None else str(folder / entrance.ca)
        return replace(
            self,
            command=fill("command", self.command),
            args=tuple(fill(f"args[{at}]", value) for at, value in enumerate(self.args)),
            env=env,
            headers={key: fill(f"headers.{key}", value) for key, value in self.headers.items()},
            url=fill("url", self.url),
            cwd=None if self.cwd is None else str(folder / fill("cwd", self.cwd)),
            access=replace(entrance, ca=ca),
        )

    def redact(self, text: str) -> str:
        """Return ``text`` without the values that came from the environment or are in env, headers."""
        return masking.mask(text, self.secrets)


@dataclass(frozen=True)
class ServerFile:
    """A parsed server file. ``digest`` is the same for files that differ in layout only."""

    path: Path
    servers: dict[str, ServerConfig]
    digest: str

    def only(self, names: Collection[str]) -> ServerFile:
        """Return the same file with only these of its servers."""
        kept = {name: server for name, server in self.servers.items() if name in names}
        return replace(self, servers=kept)


def find(explicit: str | Path | None, folder: Path) -> Path:
    """Return the server file to use: ``explicit``, else ``.mcp.json``, else ``mcp.json`` there.

    Raises ``ConfigurationError`` that says where it looked.
    """
    if explicit is not None:
        path = Path(explicit).expanduser()
        if path.is_file():
            return path
        raise ConfigurationError(f"{path}: there is no such server file. {_how()}")
    for name in NAMES:
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError(
        f"No MCP server file: looked for {' and '.join(NAMES)} in {folder.absolute()}. {_how()}"
    )


def load(path: Path) -> ServerFile:
    """Read and check a server file; raises ``ConfigurationError`` with every mistake in it."""
    servers, mistakes = read(path)
    if mistakes:
        raise ConfigurationError("\n".join(mistakes.values()))
    return servers


def read(path: Path) -> tuple[ServerFile, dict[str, str]]:
    """Return the servers of a file that can be used, and what is wrong with the others.

    Raises ``ConfigurationError`` where the file as a whole cannot be read.
    """
    path = Path(path).absolute()
    document = _read(path)
    section = _section(path, document)
    inputs = _inputs(path, document)
    servers: dict[str, ServerConfig] = {}
    mistakes: dict[str, str] = {}
    for name, raw in section.items():
        if isinstance(raw, dict) and raw.get("disabled") is True:
            continue
        try:
            servers[name] = _server(path, name, raw, inputs)
        except ConfigurationError as error:
            mistakes[name] = str(error)
    content = {"servers": section, "inputs": inputs}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return ServerFile(path, servers, digest), mistakes


def check_variables(servers: Iterable[ServerConfig], environ: Mapping[str, str]) -> None:
    """Raise ``ConfigurationError`` with every ``${…}`` of these servers that has no value."""
    mistakes = []
    for server in servers:
        try:
            server.resolved(environ)
        except ConfigurationError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigurationError("\n".join(mistakes))


def _how() -> str:
    return f"Write one, or name one with --mcp-config or OMX_MCP_CONFIG; the smallest is: {EXAMPLE}"


def _mistake(path: Path, server: str | None, message: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {f'server {server!r}: ' if server else ''}{message}")


def _read(path: Path) -> dict[str, Any]:
    try:
        document = jsonc.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise _mistake(path, None, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _mistake(path, None, "is not UTF-8 text; save it as UTF-8") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _mistake(path, None, f"{where}: not JSON: {error.msg}") from error
    except jsonc.DuplicateKeyError as error:
        raise _mistake(path, None, f"{error}; remove or rename one") from error
    if not isinstance(document, dict):
        raise _mistake(path, None, f"must hold an object such as {EXAMPLE}")
    return document


def _section(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    present = [key for key in _SECTIONS if key in document]
    if len(present) == 2:
        raise _mistake(path, None, 'has both "mcpServers" and "servers"; keep one of them')
    if not present:
        near = next((hint for key in document if (hint := did_you_mean(key, _SECTIONS))), "")
        raise _mistake(path, None, f'has no "mcpServers" (or "servers").{near} Smallest: {EXAMPLE}')
    section = document[present[0]]
    if not isinstance(section, dict):
        raise _mistake(path, None, f'"{present[0]}" must be an object: server name → settings')
    return section


def _inputs(path: Path, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    raw = document.get("inputs", [])
    if not isinstance(raw, list):
        raise _mistake(path, None, '"inputs" must be a list of objects with an "id"')
    found: dict[str, dict[str, Any]] = {}
    for entry in raw:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            raise _mistake(path, None, 'each of "inputs" must be an object with an "id"')
        found[entry["id"]] = entry
    return found


def _server(
    path: Path, name: str, raw: Any, inputs: Mapping[str, Mapping[str, Any]]
) -> ServerConfig:
    if not _NAME.fullmatch(name):
        raise _mistake(path, name, "a name must not be empty or contain { } , * or line breaks")
    if not isinstance(raw, dict):
        raise _mistake(path, name, 'must be an object with a "command" or a "url"')
    try:
        return _parse(path, name, raw, inputs)
    except ValueError as error:
        raise _mistake(path, name, str(error)) from error


def _parse(
    path: Path, name: str, raw: dict[str, Any], inputs: Mapping[str, Mapping[str, Any]]
) -> ServerConfig:
    transport = _transport(raw)
    url = next((_text(raw, key) for key in _URL_KEYS if key in raw), "")
    command = _text(raw, "command") if "command" in raw else ""
    if transport == "stdio" and not command:
        raise ValueError('needs a "command", the program to start')
    if transport != "stdio" and not url:
        raise ValueError(f'needs a "url", because its type is {transport}')
    omx = hints.parse(raw["omx"]) if "omx" in raw else Hints()
    if omx.memory is not None and transport != "stdio":
        raise ValueError('"omx.memory" is for servers with a "command"')
    return ServerConfig(
        name=name,
        path=path,
        transport=transport,
        command=command,
        args=_strings(raw, "args"),
        env=_table(raw, "env"),
        env_file=_text(raw, "envFile") if raw.get("envFile") is not None else None,
        cwd=_text(raw, "cwd") if raw.get("cwd") is not None else None,
        url=url,
        headers=_table(raw, "headers"),
        hints=omx,
        access=_access(raw, transport),
        inputs=inputs,
    )


def _access(raw: dict[str, Any], transport: Transport) -> Access:
    omx = raw.get("omx", {})
    found = [key for key in access.KEYS if key in omx]
    if found and transport == "stdio":
        raise ValueError(f'"omx.{found[0]}" is for servers with a "url"; use "env" for this one')
    return access.parse(omx)


def _transport(raw: dict[str, Any]) -> Transport:
    stated = raw.get("type", raw.get("transport"))
    if stated is not None:
        if stated not in _TRANSPORTS:
            near = did_you_mean(str(stated), _TRANSPORTS)
            raise ValueError(f'the "type" {stated!r} is none of stdio, http, sse.{near}')
        return _TRANSPORTS[stated]
    urls = [key for key in _URL_KEYS if key in raw]
    if "command" in raw and urls:
        raise ValueError(f'has "command" and "{urls[0]}"; keep one, or say "type": "stdio"')
    if "command" in raw:
        return "stdio"
    if not urls:
        near = next((h for key in raw if (h := did_you_mean(key, ("command", "url")))), "")
        raise ValueError(f'needs a "command" (a program to start) or a "url".{near}')
    return "sse" if str(raw[urls[0]]).rstrip("/").endswith("/sse") else "http"


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f'"{key}" must be a string that is not empty')
    return value


def _strings(raw: dict[str, Any], key: str) -> tuple[str, ...]:
    value = raw.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'"{key}" must be a list of strings; put numbers in quotes')
    return tuple(value)


def _table(raw: dict[str, Any], key: str) -> dict[str, str]:
    value = raw.get(key) or {}
    if not isinstance(value, dict):
        raise ValueError(f'"{key}" must be an object of strings')
    for name, item in value.items():
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise ValueError(f'"{key}.{name}" must be a string; put the value in quotes')
    return {name: str(item) for name, item in value.items()}
