"""What agents say of themselves."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import pytest

from omx_tasks.agents import heartbeat
from omx_tasks.agents.capabilities import Capabilities
from omx_tasks.agents.heartbeat import Heartbeat
from omx_tasks.agents.registry import FORGOTTEN, SILENT, agents, broken_servers, catalogue
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.courier import Courier

RECORD = {
    "host": "h",
    "pid": 1,
    "slots": 2,
    "busy": 0,
    "done": 0,
    "servers": ["good"],
    "failed": {"bad": "it cannot start"},
    "config": "digest",
}


def _names(store: Store) -> list[str]:
    return [agent.name for agent in agents(store)]


def _write(store: Store, name: str, silent: float, **more: str) -> None:
    seconds = int(store.command(keys.agents(), "TIME")[0]) - silent
    text = f"{int(seconds * 1000)} {json.dumps({**RECORD, **more})}"
    store.command(keys.agents(), "HSET", keys.agents(), name, text)


def test_an_agent_is_listed_from_its_first_heartbeat_until_it_leaves(
    store: Store, until: Callable[..., None]
) -> None:
    name = uuid.uuid4().hex
    courier = Courier(store, name="test").start()
    told: list[list[str]] = []
    capabilities = Capabilities(["good"], [name])
    beating = Heartbeat(
        courier, name, capabilities, lambda: json.dumps(RECORD), {name: json.dumps({"tools": []})}
    )
    beating.on_sets = told.append
    word = f"server:good+{name}"
    sets = keys.capability_sets()
    store.command(sets, "SADD", sets, word, f"server:{name}")
    beating.start()
    until(lambda: told)
    assert name in _names(store)
    assert word in told[0]
    assert f"server:{name}" not in told[0]
    assert catalogue(store)[name] == {"tools": []}
    beating.stop()
    courier.stop()
    assert name not in _names(store)
    store.command(keys.catalogue(), "HDEL", keys.catalogue(), name)


def test_the_catalogue_comes_with_the_first_heartbeat_and_again_now_and_then(
    store: Store, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)
    monkeypatch.setattr(heartbeat, "CATALOGUE_EVERY", 5)
    name = uuid.uuid4().hex
    courier = Courier(store, name="test").start()
    beats: list[list[str]] = []
    offered = {name: json.dumps({"tools": []})}
    beating = Heartbeat(courier, name, Capabilities([]), lambda: json.dumps(RECORD), offered)
    beating.on_sets = beats.append
    beating.start()
    until(lambda: beats)
    assert name in catalogue(store)
    store.command(keys.catalogue(), "HDEL", keys.catalogue(), name)
    until(lambda: name in catalogue(store))
    beating.stop()
    courier.stop()
    store.command(keys.catalogue(), "HDEL", keys.catalogue(), name)


def test_a_silent_agent_is_not_listed_and_forgotten_later(store: Store) -> None:
    fresh, silent, gone = (uuid.uuid4().hex for _ in range(3))
    _write(store, fresh, 0)
    _write(store, silent, SILENT + 1)
    _write(store, gone, FORGOTTEN + 1)
    listed = _names(store)
    assert fresh in listed
    assert silent not in listed
    left = store.command(keys.agents(), "HKEYS", keys.agents())
    assert silent.encode() in left
    assert gone.encode() not in left
    store.command(keys.agents(), "HDEL", keys.agents(), fresh, silent)


def test_an_agent_of_a_later_version_may_say_more(store: Store) -> None:
    name = uuid.uuid4().hex
    _write(store, name, 0, mood="good")
    assert name in _names(store)
    store.command(keys.agents(), "HDEL", keys.agents(), name)


def test_a_server_is_broken_that_no_agent_could_start(store: Store) -> None:
    name = uuid.uuid4().hex
    _write(store, name, 0)
    mine = [agent for agent in agents(store) if agent.name == name]
    assert broken_servers(mine) == {"bad": "it cannot start"}
    store.command(keys.agents(), "HDEL", keys.agents(), name)
