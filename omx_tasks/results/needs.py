"""What runs need of servers, and who sees to it: told by whoever submits a run, read by agents that warm servers.

::

    submit ──need──► kept, until the run ends or its time is over ──► read by agents that start later
                └──► told, at once ──► each agent that may open the server ──hold──► as many as are needed see to it

Places are held for the length of a lease and held anew as long as their agent lives, so another one takes over from an
agent that died. What is needed is kept for a multiple of the time that the run is expected to take, and for longer
while somebody sees to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from omx_tasks.graph.ahead import Need
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.link import Command
from omx_tasks.store.scripts import Call, script

#: Seconds for which needs are kept at the least, and how often the time that the run is expected to take.
KEEP, TIMES = 60.0, 4.0


@dataclass(frozen=True)
class Needs:
    """What one run needs of each server, counted from ``since`` (Unix seconds) on."""

    run: str
    since: float
    servers: Mapping[str, Need]

    @classmethod
    def parse(cls, run_id: str, text: str | bytes) -> Needs:
        """Read what `need` wrote."""
        data = json.loads(text)
        servers = {name: Need(*need) for name, need in data["servers"].items()}
        return cls(run_id, data["since"], servers)


def need(run_id: str, servers: Mapping[str, Need], seconds: float) -> Call:
    """Make the call that tells what a run needs from now on; it is expected to take so many ``seconds``."""
    text = json.dumps({"since": time.time(), "servers": servers})
    names = (keys.needs(run_id), keys.needed())
    return Call(script("need_1"), names, (run_id, text, round(KEEP + TIMES * seconds)))


def heard(payload: bytes) -> Needs:
    """Read what is told on the channel of needs."""
    run_id, _, text = payload.decode().partition(" ")
    return Needs.parse(run_id, text)


def read(store: Store) -> list[Needs]:
    """Return what the runs need that are not over, as far as it is kept."""
    names = store.command(keys.open_runs(), "ZRANGE", keys.open_runs(), 0, -1)
    runs = [name.decode() for name in names]
    texts = store.commands([(keys.needs(one), ("GET", keys.needs(one))) for one in runs])
    return [Needs.parse(run_id, text) for run_id, text in zip(runs, texts, strict=True) if text]


def longer(run_id: str) -> tuple[str, Command]:
    """Return the command that keeps what a run needs for longer."""
    return keys.needs(run_id), ("EXPIRE", keys.needs(run_id), round(KEEP), "GT")


def forget(store: Store, runs: Iterable[str]) -> None:
    """Keep no longer what these runs need: they are over."""
    store.commands([(keys.needs(one), ("DEL", keys.needs(one))) for one in runs])


class Held(NamedTuple):
    """Whether a place is the agent's own, and how many others have one."""

    own: bool
    others: int


def hold(agent: str, lease: float, places: Mapping[str, int]) -> Call:
    """Hold places, by key: if that many agents may; 0 gives it back. Read the answer with `held`."""
    return Call(script("hold_1"), list(places), (agent, round(lease * 1000), *places.values()))


def held(answer: Sequence[Any]) -> list[Held]:
    """Read the answer to `hold`, in the order of the places."""
    return [Held(own == 1, others) for own, others in zip(answer[::2], answer[1::2], strict=True)]
