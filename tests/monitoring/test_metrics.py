"""Metrics over HTTP, as Prometheus reads them: true figures, bounded labels, and answers while the cluster is away."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Held, Posting
from omx_tasks.coordination import decided
from omx_tasks.coordination.decided import Decided
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.events.types import Event, Place
from omx_tasks.monitoring.endpoint import Endpoint
from omx_tasks.monitoring.metrics import OTHER, SystemCollector, bounded
from omx_tasks.monitoring.sections.operations import Operations
from omx_tasks.monitoring.sections.system import sections
from omx_tasks.monitoring.tracker import Tracker
from omx_tasks.priorities import Priority
from omx_tasks.settings import Settings
from omx_tasks.store import keys
from omx_tasks.store.client import Store

GIVEN = Settings()
#: Some minute of 2026, 20 minutes before a full hour.
NOW = 1_780_000_800.0
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@contextmanager
def _exporter(store: Store) -> Iterator[str]:
    ready = store.ping
    collector = SystemCollector(store, sections(GIVEN))
    endpoint = Endpoint("127.0.0.1", 0, lambda: ready(0.5), [collector]).start()
    try:
        yield endpoint.url
    finally:
        endpoint.stop()
        collector.stop()


def _read(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_queue_is_counted_wherever_its_messages_stand(counted_store: Store, queue: str) -> None:
    store, listed = counted_store, keys.queue_names()  # the queues of others may be too many
    store.run(queues.declare(queue))
    store.command(listed, "SADD", listed, queue)
    store.run(queues.publish(queue, [Posting(id_, "body", priority=1) for id_ in "abc"]))
    (first,) = queues.claimed(
        store.run(queues.claim(queue, "token", most=1, lease=60_000))
    ).deliveries
    store.run(queues.ack(queue, [Held(first.id, "token")]))
    store.run(queues.claim(queue, "another", most=1, lease=60_000))
    with _exporter(store) as url:
        status, text = _read(f"{url}/metrics")
    assert status == 200
    found = _samples(text)
    name = ("queue", queue)
    assert found["omx_queue_waiting", (("priority", "P1"), name)] == 1
    assert found["omx_queue_waiting", (("priority", "P0"), name)] == 0
    assert found["omx_queue_held", (name, ("state", "leased"))] == 1
    assert found["omx_queue_published_total", (name,)] == 3
    assert found["omx_queue_acked_total", (name,)] == 1
    assert found["omx_queue_oldest_seconds", (("priority", "P1"), name)] > 0
    assert found["omx_cluster_up", ()] == 1
    assert sum(value for (kind, _), value in found.items() if kind == "omx_cluster_replicas") == 3
    assert all(name.startswith("omx_") for name, _ in found)


def _decided(store: Store, at: float) -> None:
    one = Decided("coder", ["git"], 3, 2, 1, 6, None, "P2 has waited 8.0 s", True, at)
    kinds = [asdict(one), asdict(replace(one, servers=["git", "time"], wait=0.5))]
    said = json.dumps({"at": at, "kinds": kinds})
    store.command(keys.memory(), "HSET", keys.memory(), decided.NAME, said)


def test_agents_wanted_are_told_for_scalers_while_a_coordinator_decides(store: Store) -> None:
    _decided(store, time.time())
    coder = (("template", "coder"),)
    with _exporter(store) as url:
        found = _samples(_read(f"{url}/metrics")[1])
        assert found["omx_agents_wanted", coder] == 6
        assert found["omx_agents_running", coder] == 4
        assert found["omx_agents_expected_wait_seconds", coder] == float("inf")
        _decided(store, time.time() - 2 * decided.STALE)
        assert ("omx_agents_wanted", coder) not in _samples(_read(f"{url}/metrics")[1])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool on this machine")
def test_prometheus_own_linter_has_nothing_to_say(store: Store) -> None:
    with _exporter(store) as url:
        _, text = _read(f"{url}/metrics")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True, timeout=30
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_without_a_cluster_it_says_so_and_is_alive_but_not_ready() -> None:
    away = Store("rediscluster://127.0.0.1:1", timeout=0.5)
    with _exporter(away) as url:
        status, text = _read(f"{url}/metrics")
        found = _samples(text)
        assert (status, found["omx_cluster_up", ()]) == (200, 0)
        assert found["omx_scrape_errors_total", (("section", "queues"),)] == 1
        assert _read(f"{url}/healthz") == (200, "ok\n")
        status, reason = _read(f"{url}/readyz")
        assert status == 503
        assert "127.0.0.1:1" in reason
        assert _read(f"{url}/other")[0] == 404
    away.close()


def test_a_taken_port_is_said() -> None:
    def ready() -> None:
        raise UnavailableError("never")

    first = Endpoint("127.0.0.1", 0, ready).start()
    port = int(first.url.rpartition(":")[2])
    with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"):
        Endpoint("127.0.0.1", port, ready)
    first.stop()


def test_labels_are_bounded() -> None:
    values = [("a", 1.0), ("b", 5.0), ("c", 2.0), ("d", 3.0)]
    assert bounded(values, 2) == {"b": 5.0, "d": 3.0, OTHER: 3.0}
    assert bounded(values, 2, sums=False) == {"b": 5.0, "d": 3.0, OTHER: 2.0}
    assert bounded(values) == {"b": 5.0, "d": 3.0, "c": 2.0, "a": 1.0}


def _ended(number: int, at: float, state: str = "succeeded", took: float = 1.0) -> Event:
    data = {
        "run": "r",
        "graph": "brief",
        "operation": "each",
        "server": "my notes",
        "kind": "tool",
        "target": "read_note",
        "priority": 1,
        "attempts": 1,
        "waited": 0.02,
        "started": at - took,
        "finished": at,
    }
    return Event(f"id-{number}", f"operation.{state}", Priority.P2, "", at, data, Place(0, number))


def test_what_was_done_counts_from_the_first_look_and_never_falls(counted_store: Store) -> None:
    now = NOW
    track = Tracker(counted_store, GIVEN, clock=lambda: now)
    section = Operations(clock=lambda: now)

    def look() -> Samples:
        return {
            (one.name, tuple(sorted(one.labels.items()))): one.value
            for family in section(counted_store)
            for one in family.samples
        }

    track.count([_ended(1, now), _ended(2, now, "failed")])
    done = ("omx_operations_total", (("priority", "P1"), ("state", "succeeded")))
    call = (("server", "my notes"), ("tool", "read_note"))
    assert look()[done] == 0
    track.count([_ended(3, now), _ended(4, now, took=0.001), _ended(5, now, "cancelled")])
    found = look()
    assert found[done] == 2
    assert found["omx_operations_total", (("priority", "P1"), ("state", "failed"))] == 0
    assert found["omx_operations_total", (("priority", "P1"), ("state", "cancelled"))] == 1
    assert found["omx_call_seconds_count", call] == 2
    assert found["omx_call_seconds_sum", call] == pytest.approx(1.001)
    assert found["omx_call_seconds_bucket", (("le", "0.00128"), *call)] == 1
    assert found["omx_call_seconds_bucket", (("le", "1.31072"), *call)] == 2
    assert found["omx_operation_wait_seconds_count", (("priority", "P1"),)] == 3
    assert found["omx_events_total", (("type", "operation.succeeded"),)] == 2
    for number in range(6, 10):
        now += 1800
        track.count([_ended(number, now)])
        assert look()[done] == number - 3
