"""The log of a Celery worker: Celery makes its loggers and handlers as ever, and ours is how records are written.

That is what its signals ``after_setup_logger`` and ``after_setup_task_logger`` are for: ``--loglevel``, ``--logfile``,
``worker_hijack_root_logger`` and the capture of standard output keep their meaning. What Celery prints beside its log,
the banner and the word at a shutdown, is left out, or is a line of the log, where that is JSON.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import click
from celery import signals
from celery._state import get_current_task
from celery.utils.log import get_multiprocessing_logger
from click.core import ParameterSource

from omx_tasks.logs import begin, subject
from omx_tasks.logs.formats import line_of

PROCESS = "agent"


#: The run and the operation that a task's id names.
Names = Callable[[str], tuple[str, str]]


class _Worker:
    """The worker of this process: its name, once it is known, and the tasks that are operations."""

    name: str | None = None
    operations: Mapping[str, Names] = {}


def connect(operations: Mapping[str, Names]) -> None:
    """Have Celery's signals handled; ``operations`` are the tasks, by name, that are operations."""
    _Worker.operations = operations
    signals.celeryd_init.connect(_begins, weak=False)
    signals.after_setup_logger.connect(_written, weak=False)
    signals.after_setup_task_logger.connect(_written, weak=False)


def _begins(sender: str, instance: Any, **_: Any) -> None:
    _Worker.name = sender
    begin.begin(PROCESS, agent=sender)  # until Celery has begun its own
    subject.add_source(_task_of)
    if begin.is_json():
        from celery.apps import worker  # which calls this

        instance.quiet, worker.safe_say = True, _say


def _written(logger: logging.Logger, **_: Any) -> None:
    for one in (logger, get_multiprocessing_logger()):
        for handler in one.handlers:
            handler.setFormatter(begin.formatter(PROCESS, handler.formatter, _Worker.name))
    level = begin.level_set()
    if level is not None and not _level_was_asked_for():
        logger.setLevel(level)


def _level_was_asked_for() -> bool:
    """Whether a level was named on the command line; then the setting does not hold."""
    context = click.get_current_context(silent=True)
    asked = None if context is None else context.get_parameter_source("loglevel")
    return asked is ParameterSource.COMMANDLINE


def _say(message: str, _stream: Any = None) -> None:
    """Write a line of the log from the handler of a signal, in which nothing may be logged."""
    with contextlib.suppress(OSError):
        os.write(2, line_of(PROCESS, "INFO", message, _Worker.name).encode() + b"\n")


def _task_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """Return the task that a record is about: the one that runs here, or the one that Celery tells of."""
    task = get_current_task()
    if task is not None and task.request.id:
        return _about(task.request.id, task.name, getattr(task.request, "traceparent", None))
    told = record.__dict__.get("data")
    if isinstance(told, Mapping) and "id" in told and "name" in told:
        return _about(str(told["id"]), str(told["name"]), None)
    return {}


def _about(task_id: str, name: str, traceparent: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"task": task_id, "task_name": name}
    if name in _Worker.operations:
        found["run"], found["operation"] = _Worker.operations[name](task_id)
    parts = str(traceparent or "").split("-")
    if len(parts) == 4:  # as W3C's Trace Context has it, where a producer sent one
        found["trace"], found["span"] = parts[1], parts[2]
    return found
