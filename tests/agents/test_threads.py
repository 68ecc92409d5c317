"""The threads of ordinary tasks: as many at once as are allowed now."""

from __future__ import annotations

import threading
from collections.abc import Callable

from omx_tasks.agents.threads import Threads

Until = Callable[..., None]


class Gate:
    """Jobs that run until they are let go."""

    def __init__(self) -> None:
        self.begun = 0
        self._open = threading.Semaphore(0)
        self._lock = threading.Lock()

    def job(self) -> None:
        with self._lock:
            self.begun += 1
        assert self._open.acquire(timeout=60)

    def let_go(self, count: int) -> None:
        self._open.release(count)


def test_as_many_jobs_run_at_once_as_are_allowed(until: Until) -> None:
    threads, gate = Threads(2), Gate()
    for _ in range(6):
        threads.submit(gate.job)
    until(lambda: gate.begun == 2)
    assert threads.busy == 2
    threads.resize(4)
    until(lambda: gate.begun == 4)
    threads.resize(1)
    gate.let_go(3)
    until(lambda: threads.busy == 1)
    assert gate.begun == 4
    gate.let_go(3)
    assert threads.drain(60)
    assert gate.begun == 6


def test_jobs_begin_in_their_order() -> None:
    threads, order = Threads(1), list[int]()
    for n in range(100):
        threads.submit(lambda n=n: order.append(n))  # type: ignore[misc]
    assert threads.drain(60)
    assert order == list(range(100))


def test_a_job_that_fails_does_not_cost_its_thread() -> None:
    threads, done = Threads(1), threading.Event()
    threads.submit(lambda: 1 / 0)
    threads.submit(done.set)
    assert done.wait(60)


def test_what_was_not_begun_at_the_end_is_never_begun(until: Until) -> None:
    threads, gate = Threads(1), Gate()
    for _ in range(3):
        threads.submit(gate.job)
    until(lambda: gate.begun == 1)
    threads.stop()
    assert not threads.drain(0)
    gate.let_go(3)
    assert threads.drain(60)
    assert gate.begun == 1


def test_many_threads_hand_in_jobs_and_each_is_done_once() -> None:
    threads, done, lock = Threads(4), list[int](), threading.Lock()

    def note(n: int) -> None:
        with lock:
            done.append(n)

    def hand_in(first: int) -> None:
        for n in range(first, first + 500):
            threads.submit(lambda n=n: note(n))  # type: ignore[misc]
            threads.resize(1 + n % 7)

    senders = [threading.Thread(target=hand_in, args=(first,)) for first in (0, 500, 1000)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    assert threads.drain(60)
    assert sorted(done) == list(range(1500))
