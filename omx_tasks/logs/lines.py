"""What is printed for people, as lines of the log: a text stream each of whose lines is a record."""

from __future__ import annotations

import io
import logging


class Lines(io.TextIOWrapper):
    """Logs each line that is written to it, from the level INFO on."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self._logger = logger
        self._rest = ""

    def write(self, text: str) -> int:
        """Take what is printed."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self.log(logging.INFO, line.rstrip())
        return len(text)

    def log(self, level: int, line: str) -> None:
        """Log a line that is more than a notice."""
        self._logger.log(level, "%s", line)
