"""Ports of the loopback: every node needs one for clients and one for the cluster bus."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from omx_tasks.errors import ClusterError, ConfigurationError

HOST = "127.0.0.1"
BUS_OFFSET = 10_000  # a node's bus port is its port plus this
LOWEST_PORT = 1024
HIGHEST_PORT = 65_535 - BUS_OFFSET

_FIRST_CHOICE = 10_000
_POLL_SECONDS = 0.02
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_EPHEMERAL = 32_768


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Give ``count`` ports that are free together with their bus ports, in ascending order.

    They are drawn at random below the range from which the system takes ports for outgoing
    connections, so that nothing else is likely to take one before a node does; and until the end
    of the ``with`` no other process is given them here, while nodes may well start on them.

    Raises ClusterError where there are not enough of them.
    """
    highest = max(_lowest_ephemeral() - BUS_OFFSET, _FIRST_CHOICE + 4 * count)
    candidates = list(range(_FIRST_CHOICE, min(highest, HIGHEST_PORT)))
    random.SystemRandom().shuffle(candidates)
    chosen: list[int] = []
    with ExitStack() as reserved:
        for port in candidates:
            if len(chosen) == count:
                break
            pair = _reserve_pair(port)
            if pair is not None:
                for one in pair:
                    reserved.enter_context(one)
                chosen.append(port)
        if len(chosen) < count:
            found = f"found only {len(chosen)} free ports of {count}"
            raise ClusterError(f"{found}; name some with --port")
        yield sorted(chosen)


def free_ports(count: int) -> list[int]:
    """Return ``count`` ports as ``reserved_ports`` does, which anybody may take from now on."""
    with reserved_ports(count) as ports:
        return ports


def free_or_other(port: int, host: str = HOST) -> int:
    """Return this port where a server could listen on it, else a free one; either is anybody's from now on."""
    if port and _is_free(port, host):
        return port
    with socket.create_server((host, 0)) as held:
        return int(held.getsockname()[1])


def check_ports(ports: list[int], count: int) -> None:
    """Raise ConfigurationError unless these are ``count`` ports with room for their bus ports."""
    if len(ports) != count or len(set(ports)) != count:
        raise ConfigurationError(f"{count} nodes need {count} different ports, not {ports}")
    if set(ports) & {port + BUS_OFFSET for port in ports}:
        raise ConfigurationError(f"one of the ports {ports} is the bus port of another")
    for port in ports:
        if not LOWEST_PORT <= port <= HIGHEST_PORT:
            raise ConfigurationError(
                f"port {port} will not do: a node's port is from {LOWEST_PORT} to {HIGHEST_PORT}, "
                f"as its cluster bus uses the port {BUS_OFFSET} above it"
            )


def check_free(ports: Iterable[int], patience: float = 0.0) -> None:
    """Raise ClusterError, naming the port, unless all ports and their bus ports are free.

    ``patience`` is how many seconds to wait for it: a killed process has its ports a while longer.
    """
    deadline = time.monotonic() + patience
    for port in ports:
        for number, use in ((port, ""), (port + BUS_OFFSET, f", the bus port of node {port},")):
            while not _is_free(number):
                if time.monotonic() >= deadline:
                    raise ClusterError(
                        f"port {number}{use} is taken on {HOST}: stop the program that uses it "
                        f"(`lsof -i :{number}` names it), or make the cluster on other ports"
                    )
                time.sleep(_POLL_SECONDS)


def _is_free(port: int, host: str = HOST) -> bool:
    """Say whether a server could listen on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            held.bind((host, port))
            held.listen(1)
        except OSError:
            return False
        return True


def _reserve_pair(port: int) -> list[socket.socket] | None:
    """Return sockets that reserve both of a node's ports, or None where one of them is taken."""
    client = _reserve(port)
    if client is None:
        return None
    bus = _reserve(port + BUS_OFFSET)
    if bus is None:
        client.close()
        return None
    return [client, bus]


def _reserve(port: int) -> socket.socket | None:
    """Return a socket that reserves the port, or None where it is taken.

    Its address can be shared only after it has it: so nobody reserves a port that is reserved, and
    yet a server, which shares addresses, can listen on it.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.bind((HOST, port))
    except OSError:
        held.close()
        return None
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return held


def _lowest_ephemeral() -> int:
    """Return the lowest port that the system may give to an outgoing connection."""
    try:
        return int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_EPHEMERAL
