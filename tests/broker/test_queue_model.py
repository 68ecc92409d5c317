"""Random histories of one queue, held against a pure model that moves its own clock."""

from __future__ import annotations

import itertools
import time
import uuid
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Held, Posting
from omx_tasks.store import keys
from omx_tasks.store.client import Store

LEASE = 1_000_000


@dataclass
class Message:
    """What the model knows of a message; ``token`` is empty while it waits."""

    id: str
    priority: int
    rank: int
    number: int
    token: str = ""
    count: int = 0

    def turn(self) -> tuple[int, int, int]:
        return self.priority, -self.rank, self.number


class QueueMachine(RuleBasedStateMachine):
    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.queue = f"model-{uuid.uuid4().hex}"
        self.numbers = itertools.count(1)
        self.messages: dict[str, Message] = {}
        self.over: list[Held] = []
        self.counts = dict.fromkeys(("published", "acked", "failed"), 0)

    def teardown(self) -> None:
        self.store.run(queues.delete(self.queue))

    @property
    def held(self) -> list[Message]:
        return [message for message in self.messages.values() if message.token]

    @rule(priority=st.integers(0, 3), rank=st.integers(0, 2), twice=st.booleans())
    def publish(self, priority: int, rank: int, twice: bool) -> None:
        number = next(self.numbers)
        message = Message(f"m{number}", priority, rank, number)
        call = queues.publish(self.queue, [Posting(message.id, "x", priority, rank)])  # type: ignore[arg-type]
        assert self.store.run(call) == [1, 0]
        if twice:
            assert self.store.run(call) == [0, 1]
        self.messages[message.id] = message
        self.counts["published"] += 1

    @rule(most=st.integers(1, 4), twice=st.booleans())
    def claim(self, most: int, twice: bool) -> None:
        token = uuid.uuid4().hex
        waiting = sorted((m for m in self.messages.values() if not m.token), key=Message.turn)
        for message in waiting[:most]:
            message.token, message.count = token, message.count + 1
        call = queues.claim(self.queue, token, most=most, lease=LEASE)
        for _ in range(1 + twice):
            got = queues.claimed(self.store.run(call))
            assert [(d.id, d.count) for d in got.deliveries] == [
                (m.id, m.count) for m in waiting[:most]
            ]
            assert got.left == len(waiting[most:])
            if not waiting:
                break

    @precondition(lambda self: self.held)
    @rule(data=st.data(), outcome=st.sampled_from(["acked", "failed"]))
    def ack(self, data: Any, outcome: str) -> None:
        message = self._draw(data)
        held = [Held(message.id, message.token)]
        assert self.store.run(queues.ack(self.queue, held, outcome=outcome)) == [1, 0, 0]
        assert self.store.run(queues.ack(self.queue, held, outcome=outcome)) == [0, 1, 0]
        del self.messages[message.id]
        self.counts[outcome] += 1

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        message = self._draw(data)
        held = [Held(message.id, message.token)]
        assert self.store.run(queues.release(self.queue, held)) == 1
        self._give_up(message)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def lease_ends(self, data: Any) -> None:
        """The server's clock is not moved; the lease's end is moved into its past."""
        message = self._draw(data)
        leases = keys.leases(self.queue)
        self.store.command(
            leases, "ZADD", leases, "XX", round(time.time() * 1000) - 60_000, message.id
        )
        assert queues.claimed(self.store.run(self._look())).deliveries == []
        self._give_up(message)

    @precondition(lambda self: self.over)
    @rule(data=st.data())
    def act_too_late(self, data: Any) -> None:
        held = data.draw(st.sampled_from(self.over))
        expected = [0, 0, 1] if held.id in self.messages else [0, 1, 0]
        assert self.store.run(queues.ack(self.queue, [held])) == expected
        assert self.store.run(queues.renew(self.queue, [held], lease=LEASE)) == [held.id.encode()]
        assert self.store.run(queues.release(self.queue, [held])) == 0

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def renew(self, data: Any) -> None:
        message = self._draw(data)
        held = [Held(message.id, message.token)]
        assert self.store.run(queues.renew(self.queue, held, lease=LEASE)) == []

    @invariant()
    def the_queue_is_as_the_model_says(self) -> None:
        stats = queues.read_stats(self.store.run(queues.stats(self.queue)))
        waiting = [m.priority for m in self.messages.values() if not m.token]
        assert stats.waiting == tuple(waiting.count(priority) for priority in range(4))
        assert (stats.leased, stats.delayed, stats.dead) == (len(self.held), 0, 0)
        assert {name: stats.counters.get(name, 0) for name in self.counts} == self.counts

    def _look(self) -> Any:
        return queues.claim(self.queue, uuid.uuid4().hex, most=0, lease=LEASE)

    def _draw(self, data: Any) -> Message:
        return data.draw(st.sampled_from(self.held))  # type: ignore[no-any-return]

    def _give_up(self, message: Message) -> None:
        self.over.append(Held(message.id, message.token))
        message.token = ""


@pytest.mark.timeout(60)
def test_any_history_of_a_queue_is_as_the_model_says(store: Store) -> None:
    QueueMachine.store = store
    run(
        QueueMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
