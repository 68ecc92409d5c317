"""One node on this machine: its folder, its process, and the one connection to it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import redis

from omx_tasks.cluster.launch import Launched, launch
from omx_tasks.cluster.node_config import node_config
from omx_tasks.cluster.peer import POLL_SECONDS, Peer
from omx_tasks.cluster.ports import HOST
from omx_tasks.errors import ClusterError

STOP_SECONDS = 10.0
DYING_SECONDS = 1.0  # how long a killed process may have its ports and its files

_ASK_AGAIN_SECONDS = 0.1
_KILL_SECONDS = 5.0
_TAIL_LINES = 8


class Node(Peer):
    """A node of the cluster, whether it runs or not. Everything of it lies in ``folder``."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(HOST, port)
        self.folder = folder
        self.config_file = folder / "node.conf"
        self.log_file = folder / "node.log"
        self.pid_file = folder / "node.pid"
        self._launched: Launched | None = None

    def __repr__(self) -> str:
        pid = self.pid()
        return f"<Node {HOST}:{self.port} {'dead' if pid is None else f'pid {pid}'}>"

    def prepare(self, node_timeout_ms: int) -> None:
        """Write the configuration file. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = node_config(self.folder, self.pid_file, self.log_file, self.port, node_timeout_ms)
        self.config_file.write_text(text, encoding="utf-8", errors="surrogateescape")

    def start(self, server: Path, *, bound: bool) -> None:
        """Start the process; see ``launch`` for ``bound``. It answers a moment later."""
        self._launched = launch([str(server), str(self.config_file)], self.log_file, bound=bound)

    def process(self) -> psutil.Process | None:
        """Return this node's process, recognised by the configuration file it was started with."""
        with _ended_already():
            if self._launched and not self._launched.ended.is_set():
                return psutil.Process(self._launched.pid)
            pid = self._written_pid()
            process = None if pid is None else psutil.Process(pid)
            if process and str(self.config_file) in process.cmdline():
                return process
        return None

    def pid(self) -> int | None:
        """Return the id of this node's process, None where it does not run."""
        process = self.process()
        return None if process is None else process.pid

    def is_dead(self) -> bool:
        """Say whether the process is gone, and wait a moment for the end of one that is dying."""
        if self.pid() is not None:
            with suppress(ClusterError):
                self.wait_until_it_answers(time.monotonic() + DYING_SECONDS)
        return self.pid() is None

    def wait_until_it_answers(self, deadline: float) -> None:
        """Wait for the first answer; raise ClusterError where the process ends or time is up.

        Another server may have taken the port a moment before. It is no answer of ours: a cluster that was made with it
        would be one with that server's own.
        """
        while True:
            with suppress(redis.RedisError):
                try:
                    if self._client.info("server")["process_id"] == self.pid():
                        return
                except redis.BusyLoadingError:
                    return
            if self.pid() is None:
                raise ClusterError(self.explain("ended while it started"))
            if time.monotonic() > deadline:
                raise ClusterError(self.explain("does not answer"))
            time.sleep(POLL_SECONDS / 4)

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End the process: SIGTERM, and SIGKILL after ``timeout`` seconds."""
        stop_all([self], timeout)

    def explain(self, trouble: str) -> str:
        """Return a message about this node's trouble with the last lines of its log."""
        try:
            lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        tail = "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:] if line.strip())
        return f"node {HOST}:{self.port} {trouble}; its log {self.log_file} ends:\n{tail}"

    def _written_pid(self) -> int | None:
        try:
            return int(self.pid_file.read_text())
        except (OSError, ValueError):
            return None


def stop_all(nodes: Sequence[Node], timeout: float = STOP_SECONDS) -> None:
    """End the processes of all nodes at once; what is left after ``timeout`` seconds is killed.

    They are asked again and again: a replica that is writing its first append-only file forgets
    the signal. Raises ClusterError where a process does not end at all.
    """
    for node in nodes:
        node.close()
    left = [process for node in nodes if (process := node.process())]
    deadline = time.monotonic() + timeout
    while left and time.monotonic() < deadline:
        left = _signal_and_wait(left, signal.SIGTERM, _ASK_AGAIN_SECONDS)
    left = _signal_and_wait(left, signal.SIGKILL, _KILL_SECONDS)
    if left:
        raise ClusterError(f"process {left[0].pid} does not even end by SIGKILL; its disk may hang")


def _signal_and_wait(
    processes: Sequence[psutil.Process], number: int, seconds: float
) -> list[psutil.Process]:
    """Send a signal to all and return the processes that still run ``seconds`` later."""
    for process in processes:
        with _ended_already():
            process.send_signal(number)
    deadline = time.monotonic() + seconds
    while left := [process for process in processes if not _is_over(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS / 4)
    return left


def _is_over(process: psutil.Process) -> bool:
    """Say whether a process has ended, be it that nobody has taken note of its end."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def closing_all(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    """Give the nodes, and close the connections to them at the end."""
    opened = list(nodes)
    try:
        yield opened
    finally:
        for node in opened:
            node.close()


@contextmanager
def _ended_already() -> Iterator[None]:
    """Pass over a process that is gone, or that belongs to another user and so is not ours."""
    try:
        yield
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return
