"""Three masters with settings of their own: TLS, or addresses that do not lead to them from here."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from omx_tasks.cluster.binary import find_server
from omx_tasks.cluster.launch import Launched, launch
from omx_tasks.cluster.ports import HOST, reserved_ports

SHARES = ((0, 5460), (5461, 10922), (10923, 16383))


class ServerNodes:
    """A running cluster; ``client`` is how redis-py connects to a node, ``each`` a node's extra settings."""

    def __init__(
        self,
        folder: Path,
        *,
        server: Path | None = None,
        settings: Sequence[str] = (),
        each: Sequence[Sequence[str]] = ((), (), ()),
        tls: bool = False,
        **client: Any,
    ) -> None:
        self.folder = folder
        self._client = client
        self._launched: list[Launched] = []
        with reserved_ports(3) as self.ports:
            for port, own in zip(self.ports, each, strict=True):
                listen = ["--port", "0", "--tls-port", str(port)] if tls else ["--port", str(port)]
                self._start(server or find_server(), port, [*listen, *settings, *own])
            self._form()

    @property
    def hosts(self) -> str:
        return ",".join(f"{HOST}:{port}" for port in self.ports)

    def call(self, port: int, *command: Any) -> Any:
        with redis.Redis(HOST, port, socket_timeout=5, **self._client) as client:
            return client.execute_command(*command)

    def everywhere(self, *command: Any) -> list[Any]:
        return [self.call(port, *command) for port in self.ports]

    def stop(self) -> None:
        for launched in self._launched:
            with contextlib.suppress(ProcessLookupError):
                os.kill(launched.pid, signal.SIGKILL)
        for launched in self._launched:
            launched.ended.wait(60)

    def _start(self, server: Path, port: int, settings: list[str]) -> None:
        folder = self.folder / str(port)
        folder.mkdir(parents=True)
        command = [
            str(server), "--bind", HOST, "--dir", str(folder), "--save", "", "--cluster-enabled", "yes",
            "--cluster-node-timeout", "1000", *settings,
        ]  # fmt: skip
        self._launched.append(launch(command, self.folder / f"{port}.log", bound=True))

    def _form(self) -> None:
        self._until(lambda: self.everywhere("PING"))
        for port, (first, last) in zip(self.ports, SHARES, strict=True):
            self.call(port, "CLUSTER", "ADDSLOTSRANGE", first, last)
            self.call(self.ports[0], "CLUSTER", "MEET", HOST, port, port + 10_000)
        self._until(lambda: all(self._is_whole(port) for port in self.ports))

    def _is_whole(self, port: int) -> bool:
        info = str(self.call(port, "CLUSTER", "INFO"))
        return "cluster_state:ok" in info and "cluster_known_nodes:3" in info

    def _until(self, condition: Any) -> None:
        deadline, pause = time.monotonic() + 60, threading.Event()
        while True:
            with contextlib.suppress(redis.ConnectionError):
                if condition():
                    return
            logs = "".join(log.read_text()[-800:] for log in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, f"the cluster did not come up:\n{logs}"
            pause.wait(0.02)


def server_with_tls() -> Path | None:
    """Return a server program that was built with TLS: the wheel's is not."""
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) and b"tls-cert-file" in Path(found).read_bytes():
            return Path(found)
    return None
