"""How a record of the log is written: as text for people, or as one line of JSON for programs; never with a secret."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

from omx_tasks.logs import subject
from omx_tasks.logs.masking import mask

TEXT = "%(asctime)s %(levelname)s %(message)s"
#: Characters of a message, and of a traceback (its end says most). Longer lines are cut by those who collect logs.
LONGEST, LONGEST_TRACEBACK = 8_000, 16_000


class Json(logging.Formatter):
    """One object a line: ``process`` is what the program is, ``agent`` the name of an agent.

    The characters are ASCII, so that a line is the same in any locale.
    """

    def __init__(self, process: str, agent: str | None = None) -> None:
        super().__init__()
        self._who = {"process": process} if agent is None else {"process": process, "agent": agent}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        said: dict[str, Any] = {
            "time": time_of(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _cut(mask(_message(record))),
            **self._who,
            "pid": record.process,
            **{name: _masked(value) for name, value in subject.fields_of(record).items()},
        }
        if record.exc_info:
            said["traceback"] = mask(self.formatException(record.exc_info))[-LONGEST_TRACEBACK:]
        if record.stack_info:
            said["stack"] = mask(record.stack_info)[-LONGEST_TRACEBACK:]
        return json.dumps(said, default=str)


class Text(logging.Formatter):
    """Writes as ``inner`` does, and says what a record is about where its message does not."""

    def __init__(self, inner: logging.Formatter | None = None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter(TEXT)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and those of a traceback."""
        first, line, rest = mask(self._inner.format(record)).partition("\n")
        about = subject.fields_of(record)
        said = [f"{name} {about[name]}" for name in ("run", "operation") if name in about]
        missing = [one for one in said if one.partition(" ")[2] not in first]
        more = f" ({mask(', '.join(missing))})" if missing else ""
        return f"{first}{more}{line}{rest}"


def time_of(seconds: float) -> str:
    """Return a time as ISO 8601 has it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def line_of(process: str, level: str, message: str, agent: str | None = None) -> str:
    """Return a line of JSON for what is said where nothing may be logged, as in the handler of a signal."""
    record = logging.LogRecord(
        "omx", logging.getLevelName(level), "", 0, message.replace("%", "%%"), (), None
    )
    record.process = os.getpid()
    return Json(process, agent).format(record)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit; what was meant can still be read
        return f"{record.msg} {record.args!r}"


def _masked(value: Any) -> Any:
    return mask(value) if isinstance(value, str) else value


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
