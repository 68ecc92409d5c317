"""What a server wrote to standard error: the last lines for messages, all of it for a log file."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

MAX_LINES = 20
MAX_BYTES = 4096
MAX_LOG_BYTES = 10 * 1024 * 1024


def log_of(folder: Path, server: str) -> Path:
    """Return the log file of a server."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in server)
    return folder / f"mcp-{safe}.log"


class LastWords:
    """Keeps at most ``MAX_LINES`` lines and ``MAX_BYTES`` bytes, however much a server writes.

    ``redact`` is applied to every line before it is kept anywhere. With ``log`` each line is also
    appended to that file, which is moved aside (``.1``) when it reaches ``MAX_LOG_BYTES``.
    """

    def __init__(self, redact: Callable[[str], str], log: Path | None = None) -> None:
        self._redact = redact
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._partial = b""
        self._path = log
        self._log: BinaryIO | None = None

    def feed(self, data: bytes) -> None:
        """Take what was read from the pipe."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._keep(line)
        if len(self._partial) > MAX_BYTES:
            self._keep(self._partial)
            self._partial = b""

    def close(self) -> None:
        """Keep the line that was never ended, and close the log file."""
        if self._partial:
            self._keep(self._partial)
            self._partial = b""
        if self._log is not None:
            self._log.close()
            self._log = None
        self._path = None

    def tail(self) -> str:
        """Return the last lines, newest last, or ``""`` when nothing was written."""
        lines = list(self._lines)
        if self._partial:
            lines.append(self._clean(self._partial))
        text = "\n".join(lines[-MAX_LINES:]).strip()
        return text if len(text) <= MAX_BYTES else "…" + text[-MAX_BYTES:]

    def _keep(self, line: bytes) -> None:
        text = self._clean(line)
        self._lines.append(text[-MAX_BYTES:])
        if self._path is not None:
            self._write(self._path, text)

    def _clean(self, line: bytes) -> str:
        return self._redact(line.decode("utf-8", "replace").rstrip("\r"))

    def _write(self, path: Path, text: str) -> None:
        try:
            self._append(path, text)
        except OSError as error:
            logger.warning("%s: no longer written, %s", path, error.strerror)
            self._path = None

    def _append(self, path: Path, text: str) -> None:
        if self._log is not None and self._log.tell() >= MAX_LOG_BYTES:
            self._log.close()
            path.replace(path.with_name(path.name + ".1"))
            self._log = None
        if self._log is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._log = path.open("ab", buffering=0)
        self._log.write(text.encode() + b"\n")
