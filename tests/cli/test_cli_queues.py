"""``omx queues`` on the tests' own cluster: the tables, the audit, and the dead messages."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from test_cli_looks import on_a_terminal

from omx_tasks.broker import queues
from omx_tasks.broker.partitions import partitions
from omx_tasks.broker.queues import Held, Posting
from omx_tasks.broker.routing import queue_of
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.priorities import Priority
from omx_tasks.runs.submit import submit
from omx_tasks.store import keys


class Bench:
    """One queue that is listed, and ``omx queues`` on its cluster."""

    def __init__(self, place, store, url, queue):
        self.place, self.store, self.url, self.queue = place, store, url, queue
        store.run(queues.declare(queue))
        self.list()

    def list(self, *names):
        names = names or (self.queue,)
        self.store.command(keys.queue_names(), "SADD", keys.queue_names(), *names)

    def omx(self, *words):
        return self.place.omx("queues", *words, OMX_BROKER_URL=self.url)

    def publish(self, *ids, **fields):
        body = json.dumps({"headers": {"task": "sample.add", "argsrepr": "(1, 2)"}})
        self.store.run(queues.publish(self.queue, [Posting(id_, body, **fields) for id_ in ids]))

    def claim(self, most=10, lease=60_000, deliveries=0):
        token = uuid.uuid4().hex
        call = queues.claim(self.queue, token, most=most, lease=lease, deliveries=deliveries)
        return [Held(d.id, token) for d in queues.claimed(self.store.run(call)).deliveries]

    def kill(self, *ids, until):
        """Deliver messages once too often."""
        self.publish(*ids)
        self.claim(lease=1)
        until(lambda: not self.claim(most=0, deliveries=1) and self.dead() == len(ids))

    def dead(self):
        return queues.read_stats(self.store.run(queues.stats(self.queue))).dead

    def line(self):
        (found,) = [line for line in self.omx("--json").json if line["queue"] == self.queue]
        return found


@pytest.fixture
def bench(place, store, cluster_url, queue):
    bench = Bench(place, store, cluster_url, queue)
    yield bench
    store.run(queues.delete(queue))


def test_a_line_says_what_waits_where_for_how_long_and_who_takes_it(bench):
    bench.publish("a", "b", priority=Priority.P1)
    bench.publish("c", delay=60_000)
    bench.claim(1)
    line = bench.line()
    assert line["waiting"] == {"P0": 0, "P1": 1, "P2": 0, "P3": 0}
    assert (line["leased"], line["delayed"], line["dead"], line["consumers"]) == (1, 1, 0, 0)
    assert line["oldest"]["P1"] == line["oldest"]["all"] > 0
    assert line["oldest"]["P2"] is None
    assert line["rates"] == {"published": 0.0, "acked": 0.0}
    assert (line["missing"], line["counters"]["published"]) == (0, 3)


def test_a_queue_with_partitions_is_one_line_that_says_in_how_many_slots_it_is(bench):
    bench.store.run(queues.declare(bench.queue, partitions=3))
    for number, name in enumerate(partitions(bench.queue, 3)):
        bench.store.run(queues.publish(name, [Posting(f"m{number}", "x")]))
    line = bench.line()
    assert line["waiting"]["P2"] == 3
    assert len({spot["slot"] for spot in line["partitions"]}) == 3
    assert line["partitions"][0] == {"slot": line["slot"], "node": line["node"]}
    shown = bench.omx().out
    assert f"{bench.queue}%" not in shown
    assert "3 slots" in shown
    assert "3 published = 3 waiting" in bench.omx("--audit").out
    for name in partitions(bench.queue, 3)[1:]:
        bench.store.run(queues.delete(name))


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_a_terminal_of_common_width(bench, columns):
    long = f"omx.{'+'.join(f'server:{name}' for name in ('documents', 'calendar', 'weather'))}"
    bench.store.run(queues.declare(long))
    bench.list(long)
    place = bench.place
    environ = place.environ
    place.environ = lambda **extra: environ(OMX_BROKER_URL=bench.url, **extra)
    code, shown = on_a_terminal(place, "queues", columns=columns)
    assert code == 0
    lines = [line.rstrip() for line in strip(shown).splitlines()]
    assert max(map(len, lines)) <= columns
    assert ("slot" in lines[0]) == (columns == 120)
    assert any(line.startswith("omx.") and "…" in line for line in lines)
    bench.store.run(queues.delete(long))


def strip(shown):
    """Take the colours out."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def test_queues_of_remote_control_are_shown_only_when_asked_for(bench):
    names = [f"{uuid.uuid4()}.reply.celery.pidbox", f"celeryev.{uuid.uuid4()}"]
    for name in names:
        bench.store.run(queues.declare(name, expires=60_000))
    bench.list(*names)
    assert not any(name in bench.omx().out for name in names)
    assert all(name in bench.omx("--all").out for name in names)


def test_without_a_queue_it_says_where_queues_come_from(bench):
    bench.store.command(keys.queue_names(), "DEL", keys.queue_names())
    shown = bench.omx()
    assert (shown.code, shown.out) == (0, "")
    assert "omx up" in shown.err
    assert bench.omx("--json").json == []


def test_the_audit_says_what_became_of_every_message(bench, until):
    bench.kill("dead", until=until)
    bench.publish("a", "b", "c", "d")
    bench.publish("later", delay=60_000)
    held = bench.claim(3)
    bench.store.run(queues.ack(bench.queue, held[:1]))
    bench.store.run(queues.ack(bench.queue, held[1:2], outcome="failed"))
    shown = bench.omx("--audit")
    assert shown.code == 0, shown.err
    (line,) = [line for line in shown.out.splitlines() if bench.queue in line]
    assert line == (
        f"✔ {bench.queue}  6 published = 1 acked + 1 failed + 1 waiting + 1 leased + 1 delayed + 1 dead"
    )


def test_the_audit_fails_when_a_message_vanished(bench):
    bench.publish("a", "b")
    waiting = keys.waiting(bench.queue, Priority.P2)
    bench.store.command(waiting, "ZPOPMIN", waiting)
    shown = bench.omx("--audit")
    assert shown.code == 1
    assert f"queue '{bench.queue}': 1 unaccounted for" in shown.err
    assert bench.omx("--audit", "--json").code == 1
    assert bench.omx().code == 0


def test_dead_messages_are_listed_of_all_queues_or_of_one(bench, until):
    bench.kill("m1", "m2", until=until)
    everywhere, here = bench.omx("dead", "--json").json, bench.omx("dead", bench.queue, "--json")
    assert [message["id"] for message in here.json] == ["m1", "m2"]
    assert {"m1", "m2"} <= {message["id"] for message in everywhere}
    first = here.json[0]
    assert (first["queue"], first["priority"], first["deliveries"]) == (bench.queue, "P2", 1)
    assert first["body"]["headers"]["task"] == "sample.add"
    assert "sample.add(1, 2)" in bench.omx("dead", "list", bench.queue).out
    assert bench.omx("dead", "drop", "--queue", bench.queue).code == 0
    assert f"nothing is dead in {bench.queue}" in bench.omx("dead", bench.queue).err


def test_a_dead_message_is_shown_with_all_that_it_carries(bench, until):
    bench.kill("m1", until=until)
    shown = bench.omx("dead", "show", "m1")
    assert "1 delivery, all to agents that ended with it in hand" in shown.out
    assert '"task": "sample.add"' in shown.out
    assert bench.omx("dead", "show", "m1", "--json").json["id"] == "m1"


def test_it_says_which_messages_are_suspects(bench, until):
    bench.publish("m1", "m2")
    for _ in range(2):
        until(lambda: bench.claim(lease=1))
    until(lambda: bench.claim(most=0) == [] and bench.line()["suspects"] == 2)
    assert bench.line()["waiting"]["P2"] == 2
    assert f"{bench.queue}: 2 suspects" in bench.omx().err


def test_dead_messages_are_put_back_or_dropped_by_their_ids(bench, until):
    bench.kill("m1", "m2", "m3", until=until)
    replayed = bench.omx("dead", "replay", "m1")
    assert f"put back: 1 of {bench.queue}" in replayed.err
    assert bench.omx("dead", "drop", "m2", "--json").json == {bench.queue: 1}
    assert [message["id"] for message in bench.omx("dead", bench.queue, "--json").json] == ["m3"]
    assert bench.line()["waiting"]["P2"] == 1
    assert bench.omx("dead", "replay", "--queue", bench.queue, "--json").json == {bench.queue: 1}
    assert (bench.line()["waiting"]["P2"], bench.line()["missing"]) == (2, 0)


def test_what_is_not_there_is_said_with_a_way_on(bench):
    nowhere = bench.omx("dead", "replay", "no-such-id")
    assert (nowhere.code, nowhere.err) == (
        2,
        "omx: no dead message 'no-such-id': `omx queues dead` lists them\n",
    )
    unnamed = bench.omx("dead", "drop")
    assert unnamed.code == 2
    assert "--queue" in unnamed.err
    mistyped = bench.omx("dead", "replai")
    assert mistyped.code == 2
    assert "Did you mean 'replay'?" in mistyped.err


def test_repairing_publishes_an_operation_again_whose_message_got_lost(
    place, store, cluster_url, until
):
    word = f"test_{uuid.uuid4().hex}"
    graph = Graph(name="g", operations=[Operation(id="a", server="s", tool="t", requires=[word])])
    plan = compile_plan(graph)
    submit(store, plan, {}, keep=60)
    queue = queue_of(plan.steps["a"].capabilities)
    store.run(queues.delete(queue))
    store.command(keys.capability_sets(), "DEL", keys.capability_sets())

    def repair(*words, overdue="0.1"):
        return place.omx(
            "queues", "--repair", *words, OMX_BROKER_URL=cluster_url, OMX_OVERDUE=overdue
        )

    def waiting():
        return sum(queues.read_stats(store.run(queues.stats(queue))).waiting)

    until(lambda: "published again" in repair().err and waiting() == 1)
    sets = store.command(keys.capability_sets(), "SMEMBERS", keys.capability_sets())
    assert any(word in name.decode() for name in sets)
    assert repair("--json", overdue="60").json["published"] == 0
