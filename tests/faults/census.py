"""What a cluster holds at one moment: keys by kind, as ``keys.py`` spells them, what is in them, and connections."""

from __future__ import annotations

import inspect
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from shard import Cluster

from omx_tasks.cluster.status import NodeStatus
from omx_tasks.events.log import REMEMBERED
from omx_tasks.store import keys
from omx_tasks.store.address import Address, Node
from omx_tasks.store.link import Link

SECONDS = 10.0
PAGE = 1000
NAME = "census"
#: Seconds within which a key lapses: marks that a report of durations was counted, numbers of what producers of events
#: stored last.
LAPSES = {"durations_report": 300, "event_producer": REMEMBERED / 1000}
#: How each type of key says how much is in it.
SIZES = {b"hash": "HLEN", b"zset": "ZCARD", b"set": "SCARD", b"stream": "XLEN", b"list": "LLEN"}
#: Where Celery's own spelling of a key is kept.
FOREIGN = {"celery-task-meta-": "result", "celery-taskset-meta-": "result of a group"}
_WORD = "\0"
#: What stands for any word, any priority, any partition of the events.
_ANY = {_WORD: ".+", "P0": "P[0-3]", keys.partition(0): r"events:\d+\.\d+"}


class Census(NamedTuple):
    """Keys and entries by kind, and the keys that lapse by themselves; connections by the name of their client, and by
    node.
    """

    keys: Counter[str]
    entries: Counter[str]
    lapsing: Counter[str]
    clients: Counter[str]
    nodes: Counter[str]


def take(cluster: Cluster) -> Census:
    """Ask every node."""
    census = Census(*(Counter() for _ in Census._fields))
    for node in cluster.status().nodes:
        place = Node(node.host, node.port)
        link = Link(place, Address(seeds=(place,)), name=NAME).connect(SECONDS)
        for client in _clients(link):
            census.clients[client] += 1
            census.nodes[str(place)] += 1
        if _is_master(node):
            for name, size, seconds in _keys(link):
                kind = kind_of(name)
                census.keys[kind] += 1
                census.entries[kind] += size
                census.lapsing[kind] += 0 <= seconds <= LAPSES.get(kind, 0)
        link.close()
    return census


def _is_master(node: NodeStatus) -> bool:
    return node.master is None


def _ask(link: Link, *commands: tuple[Any, ...]) -> list[Any]:
    return link.ask(commands, time.monotonic() + SECONDS)


def _clients(link: Link) -> Iterator[str]:
    """Yield the name of each client: nodes of the cluster and this one are none."""
    for kind in ("NORMAL", "PUBSUB"):
        (answer,) = _ask(link, ("CLIENT", "LIST", "TYPE", kind))
        for line in str(answer, "utf-8").splitlines():
            name = dict(word.partition("=")[::2] for word in line.split())["name"]
            if name != NAME:
                yield name or "without a name"


def _keys(link: Link) -> Iterator[tuple[str, int, int]]:
    """Yield each key with the number of things in it, and the seconds until it lapses (-1: never)."""
    cursor = b"0"
    while True:
        ((cursor, names),) = _ask(link, ("SCAN", cursor, "COUNT", PAGE))
        types = _ask(link, *(("TYPE", name) for name in names)) if names else []
        lives = _ask(link, *(("TTL", name) for name in names)) if names else []
        for name, kind, seconds in zip(names, types, lives, strict=True):
            size = _ask(link, (SIZES[kind], name))[0] if kind in SIZES else kind != b"none"
            yield name.decode(), int(size), int(seconds)
        if cursor == b"0":
            return


def kind_of(key: str) -> str:
    """Return which function of ``keys.py`` spells a key."""
    for prefix, kind in FOREIGN.items():
        if key.startswith(prefix):
            return kind
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(key)), f"unknown: {key}")


def _kinds() -> Iterator[tuple[str, re.Pattern[str]]]:
    for kind, spell in inspect.getmembers(keys, inspect.isfunction):
        if spell.__module__ != keys.__name__ or kind == "tag" or kind.startswith("_"):
            continue
        types = [given.annotation for given in inspect.signature(spell).parameters.values()]
        spelled = spell(*(_WORD if annotation == "str" else 0 for annotation in types))
        if isinstance(spelled, str) and spelled.startswith("omx:"):
            pattern = re.escape(spelled)
            for one, any_one in _ANY.items():
                pattern = pattern.replace(re.escape(one), any_one)
            yield kind, re.compile(pattern)


#: Those first in which least is left open.
_KINDS = sorted(_kinds(), key=lambda kind: kind[1].pattern.count(".+") * 100 - len(kind[1].pattern))
