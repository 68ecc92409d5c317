"""Random histories of one queue, held against a pure model that moves its own clock.

The server's clock is not moved: what is to come to an end has its end moved into the past. Each script is sometimes
run twice with the same arguments, and after each step every message is where the model says.
"""

from __future__ import annotations

import itertools
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run

from omx_tasks.broker import audit, queues
from omx_tasks.broker.queues import Held, Posting
from omx_tasks.priorities import Priority
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.scripts import Call

LEASE = DELAY = 1_000_000


@dataclass
class Message:
    """What the model knows of a message; it has a token while it is held, and is a suspect once it was lost twice."""

    id: str
    priority: int
    rank: int
    number: int
    token: str = ""
    count: int = 0
    delayed: bool = False
    dead: bool = False
    lost: int = 0

    @property
    def is_free(self) -> bool:
        return not (self.token or self.delayed or self.dead)

    @property
    def waits(self) -> bool:
        return self.is_free and self.lost < 2

    @property
    def in_line(self) -> bool:
        return self.is_free and self.lost >= 2

    def turn(self) -> tuple[int, int, int]:
        return self.priority, -self.rank, self.number


@dataclass
class Model:
    """The messages that are in the queue, ids that it knows of old, and how many went where."""

    messages: dict[str, Message] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, name: str, number: int = 1) -> None:
        if number:
            self.counts[name] = self.counts.get(name, 0) + number

    def remove(self, message: Message, outcome: str) -> None:
        del self.messages[message.id]
        self.count(outcome)
        if outcome != "purged":
            self.known.add(message.id)


twice = st.booleans()


class QueueMachine(RuleBasedStateMachine):
    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.queue = f"model-{uuid.uuid4().hex}"
        self.numbers = itertools.count(1)
        self.model = Model()
        self.over: list[Held] = []

    def teardown(self) -> None:
        self.store.run(queues.delete(self.queue))

    def having(self, state: str) -> list[Message]:
        return [message for message in self.model.messages.values() if getattr(message, state)]

    # --- into the queue -----------------------------------------------------------------------------

    @rule(priority=st.sampled_from(Priority), rank=st.integers(0, 2), later=twice, twice=twice)
    def publish(self, priority: Priority, rank: int, later: bool, twice: bool) -> None:
        number = next(self.numbers)
        message = Message(f"m{number}", int(priority), rank, number, delayed=later)
        posting = Posting(message.id, f"body of {message.id}", priority, rank, DELAY * later)
        self._run(queues.publish(self.queue, [posting]), [1, 0], [0, 1], twice)
        self.model.messages[message.id] = message
        self.model.count("published")

    @precondition(lambda self: self.model.messages or self.model.known)
    @rule(data=st.data())
    def publish_what_is_known(self, data: Any) -> None:
        ids = sorted(self.model.known | self.model.messages.keys())
        posting = Posting(data.draw(st.sampled_from(ids)), "another body")
        self._run(queues.publish(self.queue, [posting, posting]), [0, 2], [0, 2], twice=False)

    @precondition(lambda self: self.having("delayed"))
    @rule(data=st.data())
    def a_delay_ends(self, data: Any) -> None:
        message = self._draw(data, "delayed")
        self._end(keys.delayed(self.queue), message)
        message.delayed = False

    # --- in a worker's hands ------------------------------------------------------------------------

    @rule(most=st.integers(1, 4), suspect=st.booleans(), twice=twice)
    def claim(self, most: int, suspect: bool, twice: bool) -> None:
        """One suspect is taken where one is wanted, before the others of its priority."""
        token = uuid.uuid4().hex
        line = sorted(self.having("in_line"), key=self._turn_in_line)
        waiting = [*line[:suspect], *self.having("waits")]
        waiting.sort(key=lambda message: (message.priority, not message.in_line, message.turn()))
        taken = waiting[:most]
        accused = [message.id for message in taken if message.in_line]
        left = len(self.having("waits")) - len(taken) + len(accused)
        for message in taken:
            message.token, message.count = token, message.count + 1
        call = queues.claim(self.queue, token, most=most, lease=LEASE, suspect=suspect)
        for _ in range(1 + twice):
            got = queues.claimed(self.store.run(call))
            assert [(d.id, d.count, d.body.decode()) for d in got.deliveries] == [
                (m.id, m.count, f"body of {m.id}") for m in taken
            ]
            assert got.left == left
            assert [got.suspect] == (accused or [""])
            assert got.suspects == bool(self.having("in_line"))
            assert (got.due >= 0) == bool(self.having("token") or self.having("delayed"))
            if not taken:
                break

    @precondition(lambda self: self.having("token"))
    @rule(data=st.data(), outcome=st.sampled_from(["acked", "failed"]), twice=twice)
    def ack(self, data: Any, outcome: str, twice: bool) -> None:
        message = self._draw(data, "token")
        held = [Held(message.id, message.token)]
        self._run(queues.ack(self.queue, held, outcome=outcome), [1, 0, 0], [0, 1, 0], twice)
        self.over.append(held[0])
        self.model.remove(message, outcome)

    @precondition(lambda self: self.having("token"))
    @rule(data=st.data(), later=twice, twice=twice)
    def release(self, data: Any, later: bool, twice: bool) -> None:
        message = self._draw(data, "token")
        held = [Held(message.id, message.token)]
        self._run(queues.release(self.queue, held, delay=DELAY * later), 1, 0, twice)
        self._give_up(message)
        message.delayed = later
        self.model.count("returned")

    @precondition(lambda self: self.having("token"))
    @rule(data=st.data(), twice=twice)
    def renew(self, data: Any, twice: bool) -> None:
        message = self._draw(data, "token")
        held = [Held(message.id, message.token)]
        self._run(queues.renew(self.queue, held, lease=LEASE), [], [], twice)

    @precondition(lambda self: self.having("token"))
    @rule(data=st.data(), most=st.integers(0, 2))
    def a_lease_ends(self, data: Any, most: int) -> None:
        """A message is dead when it was delivered ``most`` times (0: never)."""
        message = self._draw(data, "token")
        message.lost += 1
        self._end(keys.leases(self.queue), message, most)
        self._give_up(message)
        message.dead = 0 < most <= message.count
        self.model.count("returned", not message.dead)

    @precondition(lambda self: self.over)
    @rule(data=st.data())
    def act_too_late(self, data: Any) -> None:
        held = data.draw(st.sampled_from(self.over))
        fenced = held.id in self.model.messages
        expected = [0, 0, 1] if fenced else [0, 1, 0]
        assert self.store.run(queues.ack(self.queue, [held])) == expected
        assert self.store.run(queues.renew(self.queue, [held], lease=LEASE)) == [held.id.encode()]
        assert self.store.run(queues.release(self.queue, [held])) == 0
        self.model.count("fenced", fenced)

    # --- dead, purged, deleted ----------------------------------------------------------------------

    @precondition(lambda self: self.having("dead"))
    @rule(data=st.data(), twice=twice)
    def replay(self, data: Any, twice: bool) -> None:
        message = self._draw(data, "dead")
        for expected in (1, 0)[: 1 + twice]:
            assert audit.replay(self.store, self.queue, [message.id, "unknown"]) == expected
        message.dead, message.count, message.lost = False, 0, 0
        self.model.count("replayed")

    @precondition(lambda self: self.having("dead"))
    @rule(data=st.data(), twice=twice)
    def drop(self, data: Any, twice: bool) -> None:
        message = self._draw(data, "dead")
        for expected in (1, 0)[: 1 + twice]:
            assert audit.drop(self.store, self.queue, [message.id, "unknown"]) == expected
        self.model.remove(message, "dropped")

    @precondition(lambda self: self.model.messages)
    @rule(data=st.data())
    def replay_what_is_not_dead(self, data: Any) -> None:
        alive = [m.id for m in self.model.messages.values() if not m.dead]
        assert audit.replay(self.store, self.queue, alive) == 0
        assert audit.drop(self.store, self.queue, alive) == 0

    @rule(twice=twice)
    def purge(self, twice: bool) -> None:
        gone = self.having("waits") + self.having("in_line") + self.having("delayed")
        self._run(queues.purge(self.queue), len(gone), 0, twice)
        for message in gone:
            self.model.remove(message, "purged")

    @precondition(lambda self: len(self.model.known) > 3)
    @rule()
    def delete(self) -> None:
        """What lapses does the same: all keys go at once."""
        self.store.run(queues.delete(self.queue))
        self.model, self.over = Model(), []

    # --- after each step ----------------------------------------------------------------------------

    @invariant()
    def the_queue_is_as_the_model_says(self) -> None:
        (report,) = audit.reports(self.store, [self.queue])
        waiting = [m.priority for m in self.having("waits") + self.having("in_line")]
        stats = report.stats
        assert stats.waiting == tuple(waiting.count(priority) for priority in range(4))
        assert [age is not None for age in stats.oldest] == [count > 0 for count in stats.waiting]
        assert stats.suspects == len(self.having("in_line"))
        assert stats.leased == len(self.having("token"))
        assert stats.delayed == len(self.having("delayed"))
        assert stats.dead == len(self.having("dead"))
        assert stats.counters == self.model.counts
        assert report.missing == 0

    @invariant()
    def every_place_is_as_the_model_says(self) -> None:
        key = keys.places(self.queue)
        stored = self.store.command(key, "HGETALL", key)
        places = {id_.decode(): text.decode().split("|") for id_, text in stored.items()}
        assert {
            id_: (int(p), int(count), token, lost)
            for id_, (p, _, _, count, token, *lost) in places.items()
        } == {
            m.id: (m.priority, m.count, m.token, [f"lost {m.lost}"] if m.lost else [])
            for m in self.model.messages.values()
        }

    @invariant()
    def the_dead_are_listed(self) -> None:
        listed = {
            (d.id, d.priority, d.deliveries, d.losses) for d in audit.dead(self.store, self.queue)
        }
        assert listed == {(m.id, m.priority, m.count, m.lost) for m in self.having("dead")}

    # --- helpers ------------------------------------------------------------------------------------

    def _run(self, call: Call, first: object, second: object, twice: bool) -> None:
        assert self.store.run(call) == first
        if twice:
            assert self.store.run(call) == second

    def _end(self, key: str, message: Message, most: int = 0) -> None:
        """Let a time that is in ``key`` be over, and have a claim of nothing notice it."""
        past = round(time.time() * 1000) - 60_000
        assert self.store.command(key, "ZADD", key, "XX", "CH", past, message.id) == 1
        look = queues.claim(self.queue, uuid.uuid4().hex, most=0, lease=LEASE, deliveries=most)
        assert queues.claimed(self.store.run(look)).deliveries == []

    def _turn_in_line(self, message: Message) -> tuple[int, int, float, str]:
        """Return what decides among suspects; since when one has been in line is the server's to know."""
        key = keys.delayed(self.queue)
        score = float(self.store.command(key, "ZSCORE", key, message.id))
        return message.priority, message.lost, score, message.id

    def _draw(self, data: Any, state: str) -> Message:
        return data.draw(st.sampled_from(self.having(state)))  # type: ignore[no-any-return]

    def _give_up(self, message: Message) -> None:
        self.over.append(Held(message.id, message.token))
        message.token = ""


@pytest.mark.timeout(90)
def test_any_history_of_a_queue_is_as_the_model_says(store: Store) -> None:
    QueueMachine.store = store
    run(
        QueueMachine,
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
