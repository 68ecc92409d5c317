"""A book that a server's writes are noted in, for tests: what overlapped, and in which order they came."""

from __future__ import annotations

import sys
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omx_tasks.graph.model import Operation

SERVER = Path(__file__).parent / "servers" / "book.py"


@dataclass
class Book:
    """One server of a name that no other test uses; ``hints`` is its ``omx`` in the server file."""

    folder: Path
    hints: dict[str, Any] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"book_{uuid.uuid4().hex[:8]}")

    @property
    def file(self) -> Path:
        return self.folder / self.name

    def servers(self) -> dict[str, Any]:
        """Return the server file's part."""
        command = {"command": sys.executable, "args": [str(SERVER), str(self.file)]}
        return {self.name: {**command, "omx": self.hints}}

    def call(self, id_: str, tool: str = "write", **fields: Any) -> Operation:
        arguments = {"key": id_, **fields.pop("arguments", {})}
        return Operation(id=id_, server=self.name, tool=tool, arguments=arguments, **fields)

    def lines(self) -> list[tuple[str, str, str]]:
        """Return word, page and key of each line."""
        if not self.file.exists():
            return []
        found = (line.split() for line in self.file.read_text().splitlines())
        return [(word, page, key) for word, page, key in found]

    def begun(self) -> list[str]:
        return [key for word, _, key in self.lines() if word == "begin"]

    def most_at_once(self, page: str | None = None) -> int:
        """Return how many writes, of one page, were under way at once."""
        now = most = 0
        for word, where, _ in self.lines():
            if page in (None, where):
                now += 1 if word == "begin" else -1
                most = max(most, now)
        return most

    def counted(self) -> Counter[str]:
        return Counter(self.begun())
