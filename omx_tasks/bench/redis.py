"""What one command costs: a naive client, stock's pooled cluster client, and the store of this project.

::

    naive   a connection for each command ─► HAProxy ─► any node ─(MOVED)─► a connection to the one that is meant
    stock   redis-py's RedisCluster, its connections kept
    ours    `Store.command`

The same commands in the same order, in blocks that take turns, so that what disturbs the machine disturbs all three:
first while it is idle, then beside processes that keep the cluster busy. HAProxy stands in front of all six nodes and
sends each connection to the next one that says ``cluster_state:ok``, as in the compose file.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis
from redis.cluster import RedisCluster
from redis.exceptions import MovedError

from omx_tasks.bench.figures import Goal
from omx_tasks.bench.place import Measured, Row
from omx_tasks.bench.sides import end, our_side
from omx_tasks.cluster.launch import launch
from omx_tasks.cluster.ports import HOST, reserved_ports
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.store.address import Address
from omx_tasks.store.client import Store

Say = Callable[[str], None]
Execute = Callable[..., Any]

#: Bytes of a value, and different keys.
VALUE, KEYS = b"x" * 100, 1000
#: Commands of the naive client in a block: it takes as long as the others with more.
NAIVE = 40
START, GRACE, PAUSE = 10.0, 5.0, 0.02
WAYS = ("naive", "stock", "ours")

_PROXY = """
global
  maxconn 2000
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
frontend cluster
  bind {host}:{port}
  default_backend nodes
backend nodes
  balance roundrobin
  option tcp-check
  tcp-check send CLUSTER\\ INFO\\r\\n
  tcp-check expect string cluster_state:ok
{servers}
"""


@dataclass(frozen=True)
class Size:
    """How much is measured: rounds of blocks, commands of a block, processes that load the cluster."""

    rounds: int = 40
    block: int = 500
    load: int = 2


QUICK = Size(2, 40, 1)


def measure(size: Size, say: Say) -> Measured:
    """Measure; everything that this starts is gone when it returns or raises.

    Raises `ConfigurationError` where there is no HAProxy on this machine.
    """
    proxy = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin") or shutil.which("haproxy")
    if proxy is None:
        raise ConfigurationError("this needs HAProxy (on Debian: apt-get install haproxy)")
    began = time.monotonic()
    rows: list[Row] = []
    with TemporaryDirectory(prefix="omx-bench-") as name, our_side(Path(name) / "ours") as side:
        url = side.settings["broker_url"]
        with _proxied(proxy, Path(name), url) as port, _clients(url, port) as clients:
            say("a machine that is idle")
            rows += _rows("idle", _times(clients, size))
            say(f"beside {size.load} processes that keep the cluster busy")
            with _loaded(url, size.load):
                rows += _rows("loaded", _times(clients, size))
    return Measured(size, rows, time.monotonic() - began)


# --- the clients ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _clients(url: str, proxy: int) -> Iterator[dict[str, Execute]]:
    store, stock = Store(url), pooled(url)
    ours = _executing(store)
    try:
        yield {"naive": _naive(proxy), "stock": stock.execute_command, "ours": ours}
    finally:
        store.close()
        stock.close()


def pooled(url: str) -> RedisCluster:
    """Return stock's client of the cluster."""
    node = Address.parse(url).seeds[0]
    return RedisCluster(host=node.host, port=node.port)


def _executing(store: Store) -> Execute:
    return lambda name, key, *rest: store.command(key, name, key, *rest)


def _naive(proxy: int) -> Execute:
    def execute(*command: Any) -> Any:
        try:
            return _once(HOST, proxy, command)
        except MovedError as moved:
            return _once(moved.host, moved.port, command)

    return execute


def _once(host: str, port: int, command: tuple[Any, ...]) -> Any:
    with contextlib.closing(redis.Redis(host, port)) as client:
        execute: Execute = client.execute_command
        return execute(*command)


def commands() -> Iterator[tuple[Any, ...]]:
    """Return the commands in their order, for ever: half of them write."""
    for number in itertools.count():
        key = f"bench:{number // 4 % KEYS}"
        yield ("SET", key, VALUE)
        yield ("GET", key)
        yield ("HSET", f"{key}:hash", "field", VALUE)
        yield ("HGETALL", f"{key}:hash")


# --- the times --------------------------------------------------------------------------------------


def _times(clients: dict[str, Execute], size: Size) -> dict[str, list[float]]:
    """Return the milliseconds of each command, by client."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    streams = {way: commands() for way in WAYS}
    for number in range(size.rounds):
        for way in _turned(number):
            count = min(NAIVE, size.block) if way == "naive" else size.block
            block = _block(clients[way], itertools.islice(streams[way], count))
            if number:  # the first round warms up
                times[way] += block
    return times


def _turned(number: int) -> tuple[str, ...]:
    """Return the clients in another order each round."""
    first = number % len(WAYS)
    return WAYS[first:] + WAYS[:first]


def _block(execute: Execute, block: Iterator[tuple[Any, ...]]) -> list[float]:
    times = []
    for command in block:
        began = time.perf_counter()
        execute(*command)
        times.append((time.perf_counter() - began) * 1000)
    return times


def _rows(when: str, times: dict[str, list[float]]) -> Iterator[Row]:
    shares = {way: statistics.quantiles(values, n=100) for way, values in times.items()}
    for title, index in (("p50", 49), ("p99", 98)):
        at = {way: values[index] for way, values in shares.items()}
        for way in WAYS:
            yield Row(f"{when}, {title}, {way}", at[way], "ms")
        for other, bound in (("naive", 0.1), ("stock", 1.0)):
            ratio = at["ours"] / at[other]
            yield Row(f"{when}, {title}, ours beside {other}", ratio, "x", Goal("≤", bound))


# --- beside them ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _proxied(program: str, folder: Path, url: str) -> Iterator[int]:
    """Run HAProxy in front of the cluster's nodes; gives its port once it lets a command through."""
    nodes = Address.parse(url).seeds
    servers = "\n".join(f"  server node{node.port} {node} check inter 500" for node in nodes)
    path, log = folder / "haproxy.cfg", folder / "haproxy.log"
    with reserved_ports(1) as (port,):
        path.write_text(_PROXY.format(host=HOST, port=port, servers=servers))
        proxy = launch([program, "-db", "-f", str(path)], log, bound=True)
        try:
            _wait_for(port, log)
            yield port
        finally:
            end(proxy)


def _wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        with contextlib.suppress(redis.ConnectionError):
            _once(HOST, port, ("PING",))
            return
        time.sleep(PAUSE)
    raise UnavailableError(f"HAProxy let nothing through: {log.read_text()[-500:]}")


@contextlib.contextmanager
def _loaded(url: str, count: int) -> Iterator[None]:
    """Keep the cluster busy with the same commands, from processes of their own."""
    command = [sys.executable, "-m", __name__, url]
    loads = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for load in loads:
            assert load.stdout is not None
            if not load.stdout.readline():
                raise UnavailableError("a process that was to load the cluster ended")
        yield
    finally:
        for load in loads:
            load.terminate()
            load.wait(GRACE)
            assert load.stdout is not None
            load.stdout.close()


def _load(url: str) -> None:
    """Send commands until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    execute: Execute = pooled(url).execute_command
    for number, command in enumerate(commands()):
        execute(*command)
        if not number:
            sys.stdout.write("busy\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _load(sys.argv[1])
