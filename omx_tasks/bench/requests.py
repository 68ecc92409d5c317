"""Counts what clients ask of the servers, as the servers see it (MONITOR): a script is one request.

Commands that a script makes are not counted. The servers slow down while they are watched, so this is never
done while a speed is measured.
"""

from __future__ import annotations

import contextlib
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

from omx_tasks.bench.sides import Side
from omx_tasks.store.link import Link

DEADLINE = 10.0
_FROM_SCRIPT = b" lua]"


@contextlib.contextmanager
def counting_requests(side: Side) -> Iterator[Counter[str]]:
    """Give a counter that holds, at the end of the block, how many requests each client address sent meanwhile."""
    seen: Counter[str] = Counter()
    with ExitStack() as stack:
        links = stack.enter_context(side.links())
        watches = [stack.enter_context(_watch(link)) for link in links]
        yield seen
        for link, watch in zip(links, watches, strict=True):
            _count(seen, watch, _mark(link))


def _watch(link: Link) -> socket.socket:
    """Connect to a link's server once more, to be told of every command."""
    watch = socket.create_connection(link.node, DEADLINE)
    watch.sendall(b"MONITOR\r\n")
    if watch.recv(5) != b"+OK\r\n":
        raise RuntimeError(f"{link.node} does not let itself be watched")
    return watch


def _mark(link: Link) -> bytes:
    """Send a mark: what the server tells of before it happened before now."""
    mark = uuid.uuid4().hex
    link.ask([("ECHO", mark)], time.monotonic() + DEADLINE)
    return mark.encode()


def _count(seen: Counter[str], watch: socket.socket, mark: bytes) -> None:
    with watch.makefile("rb") as lines:
        for line in lines:
            if mark in line:
                return
            if _FROM_SCRIPT not in line:
                seen[_client(line)] += 1


def _client(line: bytes) -> str:
    """Return the address in a line ``+TIME [DB ADDRESS] "COMMAND" …``."""
    return line.split(b"]", 1)[0].split()[-1].decode()
