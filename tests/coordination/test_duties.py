"""A duty that hangs or fails holds up no other, and is seen; handlers are served by who does not lead, too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from omx_tasks.coordination.coordinator import Coordinator
from omx_tasks.coordination.duties import Duty
from omx_tasks.coordination.leader import Term
from omx_tasks.coordination.registry import coordinators
from omx_tasks.errors import OmxError
from omx_tasks.events.bus import Draft
from omx_tasks.events.handlers import handler_of, on
from omx_tasks.events.now import publish_now
from omx_tasks.settings import Settings
from omx_tasks.store.client import Store

Begin = Callable[..., Coordinator]


@pytest.fixture
def begin(cluster_url: str) -> Iterator[Begin]:
    running: list[Coordinator] = []

    def start(*duties: Duty, handlers: tuple[object, ...] = ()) -> Coordinator:
        served = [handler for one in handlers if (handler := handler_of(one))]
        running.append(Coordinator(lambda: Store(cluster_url), duties, served).start())
        return running[-1]

    yield start
    for coordinator in running:
        coordinator.stop()


def test_a_hanging_and_a_failing_duty_hold_up_no_other(
    begin: Begin, store: Store, until: Callable[..., None]
) -> None:
    go_on, done = threading.Event(), []

    def hang(_term: Term) -> None:
        go_on.wait(60)

    def fail(_term: Term) -> None:
        raise OmxError("it cannot be done")

    def work(_term: Term) -> str:
        done.append(1)
        return "worked"

    coordinator = begin(
        Duty("hangs", 0.01, hang), Duty("fails", 0.01, fail), Duty("works", 0.01, work)
    )
    until(lambda: len(done) > 20)

    def seen() -> bool:
        (one,) = [one for one in coordinators(store) if one.name == coordinator.name]
        hangs, fails, works = (one.duties[name] for name in ("hangs", "fails", "works"))
        return bool(
            one.leads
            and hangs["running"]
            and works["said"] == "worked"
            and works["failures"] == 0
            and fails["failures"] == fails["failing"] > 0
            and one.failing == {"fails": "it cannot be done"}
        )

    until(seen)
    go_on.set()


def test_a_failing_duty_rests_longer_each_time_and_goes_on() -> None:
    duty = Duty("one", 2.0, lambda _term: None)
    assert [duty.rest(failing) for failing in (0, 1, 2, 3, 9)] == [2, 2, 2, 4, 60]
    assert Duty("other", 300.0, lambda _term: None).rest(9) == 300


def test_handlers_are_served_by_one_that_stands_by(
    begin: Begin, store: Store, given: Settings, word: str, until: Callable[..., None]
) -> None:
    got: list[str] = []
    leader = begin()
    until(lambda: leader.leader.term is not None)

    @on(f"{word}.*", begins="oldest", name=word)
    def handle(event: object) -> None:
        got.append(str(event))

    other = begin(handlers=(handle,))
    publish_now(store, given, [Draft(f"{word}.done", {})])
    until(lambda: got)
    assert other.leader.term is None
