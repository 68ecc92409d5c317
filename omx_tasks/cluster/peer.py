"""One node of a cluster, wherever it runs: an address and the one connection to it."""

from __future__ import annotations

import socket
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from omx_tasks.cluster.view import View, ask, look
from omx_tasks.errors import ClusterError

POLL_SECONDS = 0.02

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 2.0


class Peer:
    """A node that answers at ``host`` and ``port``, or is to do so soon."""

    def __init__(
        self, host: str, port: int, username: str | None = None, password: str | None = None
    ) -> None:
        self.host = host
        self.port = port
        self._client = redis.Redis(
            host=host,
            port=port,
            username=username,
            password=password,
            protocol=2,
            decode_responses=True,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def __repr__(self) -> str:
        return f"<Peer {self.name}>"

    @property
    def name(self) -> str:
        """Its address as it is written."""
        return f"{self.host}:{self.port}"

    def ip(self) -> str:
        """Return the address of its host now: nodes introduce one another by numbers."""
        try:
            return str(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][4][0])
        except OSError as error:
            raise ClusterError(f"there is no host {self.host!r}: {error}") from error

    def look(self) -> View:
        """Return what the node says. Raises redis.RedisError where it does not answer."""
        return look(self._client)

    def call(self, *words: str | int) -> Any:
        """Send one command. Raises ClusterError where the node refuses it or does not answer."""
        try:
            return ask(self._client, *words)
        except redis.RedisError as error:
            command = " ".join(str(word) for word in words)
            raise ClusterError(f"node {self.name} refused {command}: {error}") from error

    def explain(self, trouble: str) -> str:
        """Return a message about this node's trouble."""
        return f"node {self.name} {trouble}"

    def close(self) -> None:
        """Close the connection; the node runs on."""
        self._client.close()
