"""How many agents there are to be: within bounds, at once where much waits, and steady where load comes and goes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omx_tasks.agents.scaling.autoscale import Past, Seen, decide, needed
from omx_tasks.agents.scaling.kinds import kinds_of
from omx_tasks.agents.scaling.nurseries import NurseryRecord
from omx_tasks.agents.scaling.spread import free_of, room, spread
from omx_tasks.monitoring.forecast import forecast

CALM = Seen(
    at=0.0,
    wanted=1,
    warm=1,
    slots=4,
    busy=0,
    waiting=(0, 0, 0, 0),
    oldest=(0, 0, 0, 0),
    arriving=0.0,
    seconds=0.2,
    cold=2.0,
    least=1,
    most=6,
    room=100,
    idle=10.0,
    target=1.0,
)


@dataclass
class Simulation:
    """Agents with four slots that are warm two seconds after they were asked for, looked at once a second."""

    idle: float
    most: int = 6
    at: float = 0.0
    wanted: int = 1
    warm_at: list[float] = field(default_factory=lambda: [0.0])
    queue: deque[float] = field(default_factory=deque)
    busy: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    past: Past | None = None

    def second(self, rate: int) -> None:
        """Let a second pass in which so many arrive."""
        for _ in range(10):
            self.at += 0.1
            self.queue.extend([self.at] * (rate // 10))
            self.busy = [end for end in self.busy if end > self.at + 1e-6]
            free = 4 * self.warm - len(self.busy)
            for _ in range(min(free, len(self.queue))):
                self.waits.append(self.at - self.queue.popleft())
                self.busy.append(self.at + 0.2)
        self.rates = [*self.rates[-59:], float(rate)]
        self._look()

    @property
    def warm(self) -> int:
        return sum(at <= self.at for at in self.warm_at)

    def _look(self) -> None:
        seen = replace(
            CALM,
            at=self.at,
            wanted=self.wanted,
            warm=self.warm,
            busy=len(self.busy),
            waiting=(0, 0, len(self.queue), 0),
            oldest=(0, 0, self.at - self.queue[0] if self.queue else 0.0, 0),
            arriving=forecast(self.rates, 2).expected,
            most=self.most,
            idle=self.idle,
        )
        decision, self.past = decide(seen, self.past)
        if decision.wanted != self.wanted:
            self.changes.append((self.at, decision.wanted - self.wanted))
        while len(self.warm_at) < decision.wanted:
            self.warm_at.append(self.at + 2.0)
        self.warm_at = sorted(self.warm_at)[: decision.wanted]
        self.wanted = decision.wanted

    def wave(self, high: int, low: int, half: int, periods: int) -> None:
        for second in range(2 * half * periods):
            self.second(high if second % (2 * half) < half else low)


def test_a_square_wave_slower_than_the_rest_is_followed_without_flapping() -> None:
    run = Simulation(idle=5.0)
    run.wave(high=80, low=10, half=20, periods=3)
    turns = [rises for rises, _ in groupby(run.changes, key=lambda change: change[1] > 0)]
    assert turns == [True, False] * 3  # the number turns as often as the load
    assert all(at % 40 < 10 for at, change in run.changes if change > 0)
    late = sorted(run.waits[len(run.waits) // 3 :])  # after the first wave
    assert late[int(0.99 * len(late))] < 4.0


def test_a_square_wave_faster_than_the_rest_changes_nothing_once_there_are_enough() -> None:
    run = Simulation(idle=30.0)
    run.wave(high=80, low=0, half=5, periods=12)
    assert [change for at, change in run.changes if at > 20] == []
    assert run.wanted >= 4


def test_when_nothing_comes_any_more_they_go_one_by_one_down_to_the_least() -> None:
    run = Simulation(idle=8.0)
    for _ in range(20):
        run.second(90)
    for _ in range(60):
        run.second(0)
    falls = [(at, change) for at, change in run.changes if change < 0]
    assert run.wanted == 1
    assert all(change == -1 for _, change in falls)
    assert falls[0][0] >= 20 + 8
    assert all(after - before >= 2 for (before, _), (after, _) in pairwise(falls))


@settings(deadline=None)
@given(
    data=st.data(),
    least=st.integers(0, 3),
    more=st.integers(0, 6),
    idle=st.floats(1, 30),
)
def test_whatever_is_seen_it_stays_in_bounds_and_falls_late(data, least, more, idle) -> None:
    most = max(1, least + more)
    wanted, past, at, rose, began = max(1, least), None, 0.0, None, 0.0
    for _ in range(data.draw(st.integers(1, 40))):
        at += data.draw(st.floats(0.5, 5))
        seen = Seen(
            at=at,
            wanted=wanted,
            warm=data.draw(st.integers(0, wanted)),
            slots=data.draw(st.integers(1, 32)),
            busy=data.draw(st.integers(0, 100)),
            waiting=tuple(data.draw(st.lists(st.integers(0, 10_000), min_size=4, max_size=4))),
            oldest=tuple(data.draw(st.lists(st.floats(0, 1000), min_size=4, max_size=4))),
            arriving=data.draw(st.floats(0, 5000)),
            seconds=data.draw(st.floats(0.001, 100)),
            cold=data.draw(st.floats(0, 60)),
            least=least,
            most=most,
            room=data.draw(st.integers(0, 10)),
            idle=idle,
            target=1.0,
        )
        began = began or at
        decision, past = decide(seen, past)
        assert decision.reason
        assert least <= decision.wanted <= most
        if decision.wanted > wanted:
            assert decision.wanted <= max(seen.room, least)
            rose = at
        if decision.wanted < wanted:
            assert decision.wanted == wanted - 1
            assert at - began >= idle
            assert rose is None or at - rose >= idle
        wanted = decision.wanted


def test_memory_and_the_most_bound_it_and_it_says_so() -> None:
    much = replace(CALM, waiting=(0, 0, 400, 0), busy=4)
    decision, _ = decide(replace(much, room=3), None)
    assert decision.wanted == 3
    assert decision.reason.endswith("memory for 3")
    decision, _ = decide(much, None)
    assert decision.wanted == 6
    assert "P2 would wait" in decision.reason


def test_what_is_done_before_an_agent_is_warm_calls_for_none() -> None:
    some = replace(CALM, waiting=(0, 0, 30, 0), busy=4)  # 1.5 s of work
    assert needed(replace(some, cold=5.0)).agents <= 1
    assert needed(replace(some, cold=0.1)).agents > 1


@pytest.mark.parametrize(("priority", "more"), [(0, True), (2, True), (3, False)])
def test_what_is_urgent_waits_for_less_time(priority: int, more: bool) -> None:
    waiting = tuple(100 if one == priority else 0 for one in range(4))
    seen = replace(CALM, waiting=waiting, busy=4, cold=0.5)
    assert (needed(seen).agents > 1) is more


def test_the_reason_names_a_priority_that_waits_even_where_agents_start_slowly() -> None:
    seen = replace(CALM, waiting=(0, 0, 900, 0), busy=4, cold=30.0)
    assert needed(seen).reason.startswith("P2 would wait")


def test_long_operations_get_no_more_slots_than_there_are_operations() -> None:
    seen = replace(CALM, waiting=(0, 0, 3, 0), busy=4, seconds=600.0)
    assert needed(seen).agents == 2


def test_where_none_is_up_the_first_that_comes_has_one_started() -> None:
    seen = replace(CALM, wanted=0, warm=0, least=0)
    assert decide(seen, None)[0].wanted == 0
    assert decide(replace(seen, waiting=(0, 0, 0, 1)), None)[0].wanted == 1


def test_when_the_oldest_waits_too_long_with_all_slots_taken_there_is_one_more() -> None:
    seen = replace(CALM, waiting=(0, 0, 1, 0), oldest=(0, 0, 8.0, 0), busy=4, seconds=0.01)
    decision, _ = decide(seen, None)
    assert decision.wanted == 2
    assert decision.reason == "P2 has waited 8.0 s"
    assert decide(replace(seen, busy=1), None)[0].wanted == 1  # it waits for something else


def test_none_goes_while_something_has_waited_too_long_even_where_slots_are_free() -> None:
    seen = replace(CALM, wanted=3, warm=3, waiting=(0, 0, 5, 0), oldest=(0, 0, 4.0, 0), busy=2)
    past = None
    for at in range(60):
        decision, past = decide(replace(seen, at=float(at)), past)
        assert decision.wanted == 3


GIB = 2**30


def _nursery(name: str, host: str, free: int, **more: int) -> NurseryRecord:
    said = {"min": 0, "max": 4, "wanted": 1, "running": 1, "memory": GIB, **more}
    return NurseryRecord(name, host, 1, "coder", free=free, **said)


def test_agents_go_where_memory_is_free_and_come_from_where_it_is_not() -> None:
    both = [_nursery("a", "one", 2 * GIB), _nursery("b", "two", 5 * GIB)]
    now = {"a": 1, "b": 1}
    assert room(both, now, free_of(both, now)) == 1 + 2 + 1 + 3
    assert spread(both, now, 5, free_of(both, now)) == {"a": 1, "b": 4}
    assert spread(both, now, 6, free_of(both, now)) == {"a": 2, "b": 4}
    assert spread(both, {"a": 2, "b": 2}, 3, free_of(both, now)) == {"a": 1, "b": 2}
    late = free_of(both, {"a": 3, "b": 1})  # two were asked for that use nothing yet
    assert late == {"one": 0, "two": 5 * GIB}


def test_one_nursery_on_each_host_is_one_kind_and_another_server_file_another() -> None:
    a, b = _nursery("a", "one", 0), _nursery("b", "two", 0)
    other = replace(_nursery("c", "one", 0), servers=["git"], capabilities=["code_review"])
    first, second = kinds_of([a, b, other], [])
    assert [one.name for one in first.nurseries] == ["a", "b"]
    assert second.covers("code_review+server:git")
    assert not second.covers("server:git+server:time")
    assert not second.covers("planning+server:git")
