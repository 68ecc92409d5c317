"""The log of a process that is no Celery worker: where it goes, how it is written, what happens at an unexpected end.

Called first in each program, before anything can go wrong: where the settings themselves are wrong, that is said in the
format that was asked for, too.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from types import TracebackType

from pydantic import SecretStr

from omx_tasks import settings
from omx_tasks.errors import OmxError
from omx_tasks.logs import masking
from omx_tasks.logs.formats import TEXT, Json, Text
from omx_tasks.settings import LogFormat, Settings

logger = logging.getLogger("omx")


def begin(
    process: str,
    level: str | None = None,
    usual: str = "INFO",
    text: str = TEXT,
    agent: str | None = None,
) -> None:
    """Log to standard error from now on, as ``process``, from this level on: the one given, the setting, the usual."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(process, logging.Formatter(text), agent))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel((level or level_set() or usual).upper())
    logging.captureWarnings(True)
    prepare()


def prepare() -> None:
    """Know this process's secrets, and log what ends a thread or the process unexpectedly."""
    masking.remember_environment(os.environ)
    given = _settings()
    if given is not None:
        for url in (given.broker_url, given.result_url, given.webhook_url):
            masking.remember_url(url)
        values = [value for _, value in given if isinstance(value, SecretStr)]
        masking.remember(value.get_secret_value() for value in values)
    sys.excepthook = _ended
    threading.excepthook = _thread_ended


def formatter(
    process: str, inner: logging.Formatter | None = None, agent: str | None = None
) -> logging.Formatter:
    """Return what writes records as the setting says; as text like ``inner``."""
    return Json(process, agent) if is_json() else Text(inner)


def is_json() -> bool:
    """Whether the log is to be JSON."""
    given = _settings()
    if given is not None:
        return given.log_format is LogFormat.JSON
    return os.environ.get("OMX_LOG_FORMAT", "").strip().lower() == LogFormat.JSON


def level_set() -> str | None:
    """Return the level that was set, if one was."""
    given = _settings()
    return None if given is None or given.log_level is None else given.log_level.value


def _settings() -> Settings | None:
    """Return the settings, unless they are wrong: whoever needs them says so."""
    try:
        return settings.current()
    except OmxError:
        return None


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logger.critical("this process ends: %s", error, exc_info=(kind, error, trace))


def _thread_ended(about: threading.ExceptHookArgs) -> None:
    if issubclass(about.exc_type, SystemExit) or about.exc_value is None:
        return
    name = about.thread.name if about.thread else "a thread"
    told = (about.exc_type, about.exc_value, about.exc_traceback)
    logger.error("%s has ended: %s", name, about.exc_value, exc_info=told)
