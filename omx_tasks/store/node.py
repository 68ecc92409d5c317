"""A server of the cluster: host and port."""

from __future__ import annotations

import re
from typing import NamedTuple

DEFAULT_PORT = 6379
_PARTS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s\[\]:@/]+))(?::(?P<port>.*))?")


class Node(NamedTuple):
    """A server of the cluster: host and port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Node:
        """Read ``host``, ``host:port`` or ``[ipv6]:port``; raises ValueError that says what is wrong."""
        match = _PARTS.fullmatch(text.strip())
        if match is None:
            remedy = "write [address]:port" if text.count(":") > 1 else "write host:port"
            raise ValueError(f"{text!r} is no host and port: {remedy}")
        return cls(match["six"] or match["host"], _port(match["port"], text))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _port(digits: str | None, text: str) -> int:
    if digits is None:
        return DEFAULT_PORT
    if not re.fullmatch("[0-9]{1,5}", digits) or not 0 < int(digits) < 65536:
        raise ValueError(f"{text!r} has no valid port (1 to 65535)")
    return int(digits)
