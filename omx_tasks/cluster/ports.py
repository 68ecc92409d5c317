"""Ports of the loopback: every node needs one for clients and one for the cluster bus."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterable
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


def free_ports(count: int) -> list[int]:
    """Return ``count`` ports that are free together with their bus ports, in ascending order.

    They are drawn at random below the range from which the system takes ports for outgoing
    connections, so that nothing else is likely to take one before a node does.

    Raises ClusterError where there are not enough of them.
    """
    highest = max(_lowest_ephemeral() - BUS_OFFSET, _FIRST_CHOICE + 4 * count)
    candidates = list(range(_FIRST_CHOICE, min(highest, HIGHEST_PORT)))
    random.shuffle(candidates)
    chosen: list[int] = []
    held: list[socket.socket] = []
    try:
        for port in candidates:
            if len(chosen) == count:
                break
            pair = _hold_pair(port)
            if pair is not None:
                held += pair
                chosen.append(port)
    finally:
        for taken in held:
            taken.close()
    if len(chosen) < count:
        raise ClusterError(f"found only {len(chosen)} free ports of {count}; name some with --port")
    return sorted(chosen)


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


def _is_free(port: int) -> bool:
    held = _hold(port)
    if held is not None:
        held.close()
    return held is not None


def _hold_pair(port: int) -> list[socket.socket] | None:
    """Return both sockets of a node's ports, or None where one of them is taken."""
    client = _hold(port)
    if client is None:
        return None
    bus = _hold(port + BUS_OFFSET)
    if bus is None:
        client.close()
        return None
    return [client, bus]


def _hold(port: int) -> socket.socket | None:
    """Return a socket that listens on the port, or None where it is taken."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
    try:
        held.bind((HOST, port))
        held.listen(1)
    except OSError:
        held.close()
        return None
    return held


def _lowest_ephemeral() -> int:
    """Return the lowest port that the system may give to an outgoing connection."""
    try:
        return int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_EPHEMERAL
