"""The result backend without a worker: results are stored by the tests."""

from __future__ import annotations

import gc
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from celery import states
from celery._state import _task_stack
from celery.app.task import Context
from celery.backends.base import BaseKeyValueStoreBackend
from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult, GroupResult, ResultSet, denied_join_result

from omx_tasks.graph.marker import MARKER
from omx_tasks.results.backend import Backend
from omx_tasks.results.listener import Listener
from omx_tasks.store.client import Store
from omx_tasks.store.link import Link

Until = Callable[..., None]


def test_the_backend_is_found_by_its_scheme(app: Any) -> None:
    assert isinstance(app.backend, Backend)


def test_a_result_is_stored_and_read(app: Any, task_id: str) -> None:
    app.backend.store_result(task_id, {"a": [1, None, "ä"]}, states.SUCCESS)
    assert app.AsyncResult(task_id).get(timeout=60) == {"a": [1, None, "ä"]}
    assert app.AsyncResult(task_id).state == "SUCCESS"


def test_a_failure_is_raised_where_it_is_waited_for(app: Any, task_id: str) -> None:
    app.backend.mark_as_failure(task_id, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        app.AsyncResult(task_id).get(timeout=60)


def test_a_result_that_is_not_there_yet_is_pending(app: Any, task_id: str) -> None:
    assert app.AsyncResult(task_id).state == "PENDING"
    with pytest.raises(CeleryTimeout):
        app.AsyncResult(task_id).get(timeout=0.05)


def test_to_wait_for_no_time_is_to_look_once(app: Any, task_id: str) -> None:
    app.backend.store_result(task_id, 1, states.SUCCESS)
    there, missing = ResultSet([app.AsyncResult(task_id)]), ResultSet([app.AsyncResult("missing")])
    assert there.join_native(timeout=0, interval=3600) == [1]
    with pytest.raises(CeleryTimeout):
        missing.join_native(timeout=0, interval=3600)


def test_a_set_of_results_that_were_all_told_before_is_ready(
    app: Any, task_id: str, until: Until
) -> None:
    app.backend.on_task_call(None, task_id)
    app.backend.store_result(task_id, 1, states.SUCCESS)
    consumer = app.backend.result_consumer
    until(lambda: consumer.drain_events(0.05) or not consumer._wanted)
    assert ResultSet([app.AsyncResult(task_id)]).get(timeout=2) == [1]


def test_many_results_are_read_in_the_order_asked(app: Any) -> None:
    names = [str(uuid.uuid4()) for _ in range(50)]
    for number, name in enumerate(names):
        app.backend.store_result(name, number, states.SUCCESS)
    got = dict(app.backend.get_many(names))
    assert [got[name]["result"] for name in names] == list(range(50))


def test_a_thousand_results_are_read_and_those_that_are_missing_are_not_among_them(
    app: Any,
) -> None:
    there = [str(uuid.uuid4()) for _ in range(1000)]
    missing = [str(uuid.uuid4()) for _ in range(100)]
    for number, name in enumerate(there):
        app.backend.store_result(name, number, states.SUCCESS)
    got = dict(app.backend.get_many([*missing, *there], max_iterations=1))
    assert {name: meta["result"] for name, meta in got.items()} == {
        name: number for number, name in enumerate(there)
    }
    assert app.backend.mget(missing) == [None] * 100
    assert dict(app.backend.get_many([])) == {}


def test_a_forgotten_group_takes_its_members_along(app: Any) -> None:
    members = [app.AsyncResult(str(uuid.uuid4())) for _ in range(5)]
    for member in members:
        app.backend.store_result(member.id, 1, states.SUCCESS)
    group = GroupResult(str(uuid.uuid4()), members, app=app)
    group.save(app.backend)
    group.forget()
    assert {member.state for member in members} == {"PENDING"}


def test_a_forgotten_result_is_gone(app: Any, task_id: str) -> None:
    app.backend.store_result(task_id, 1, states.SUCCESS)
    app.AsyncResult(task_id).forget()
    assert app.AsyncResult(task_id).state == "PENDING"


def _nothing() -> None:
    return None


def test_a_failure_is_stored_before_its_errbacks_are_published(app: Any, task_id: str) -> None:
    """They read it; a node that hesitates must not let them be faster."""
    app.task(_nothing, name="fails")
    backend, seen = app.backend, []
    key = backend.get_key_for_task(task_id).decode()
    backend.store_result(task_id, None, states.STARTED)
    request = Context(
        id=task_id, task="fails", errbacks=[app.signature("handles")], called_directly=False
    )
    backend._call_task_errbacks = lambda *_: seen.append(backend.get_state(task_id))
    backend.store.command(key, "CLIENT", "PAUSE", 300, "WRITE")
    backend.mark_as_failure(task_id, ValueError("no"), request=request)
    assert seen == [states.FAILURE]


def test_a_success_is_not_overwritten(app: Any, task_id: str) -> None:
    app.backend.store_result(task_id, 1, states.SUCCESS)
    app.backend.store_result(task_id, None, states.STARTED)
    app.backend.mark_as_failure(task_id, ValueError("a later delivery"))
    assert app.AsyncResult(task_id).get(timeout=60) == 1


def test_a_state_of_ones_own_that_looks_like_a_success_is_overwritten(
    app: Any, task_id: str
) -> None:
    app.backend.store_result(task_id, {"status": "SUCCESS"}, "PROGRESS")
    app.backend.store_result(task_id, "done", states.SUCCESS)
    assert app.AsyncResult(task_id).get(timeout=60) == "done"


def test_a_failure_lives_as_long_as_failures_shall(app: Any, task_id: str) -> None:
    app.conf.update(result_expires=60, result_failure_expires=600)
    backend = app.backend
    key = backend.get_key_for_task(task_id).decode()
    backend.store_result(task_id, KeyError("x"), states.FAILURE)
    assert 60 < backend.store.command(key, "TTL", key) <= 600
    backend.store_result(task_id, 42, states.SUCCESS)
    assert 0 < backend.store.command(key, "TTL", key) <= 60


def test_a_result_expires(app: Any, task_id: str, until: Until) -> None:
    app.backend.expires = 1
    app.backend.store_result(task_id, 1, states.SUCCESS)
    key = app.backend.get_key_for_task(task_id).decode()
    assert 0 < app.backend.store.command(key, "PTTL", key) <= 1000
    app.backend.expire(key, None)
    assert app.backend.store.command(key, "PTTL", key) == -1


def test_a_group_is_saved_restored_and_waited_for(app: Any) -> None:
    names = [str(uuid.uuid4()) for _ in range(5)]
    GroupResult("group-1", [app.AsyncResult(name) for name in names], app=app).save(app.backend)
    restored = GroupResult.restore("group-1", app.backend)

    def finish() -> None:
        for number, name in enumerate(names):
            app.backend.store_result(name, number, states.SUCCESS)

    threading.Thread(target=finish).start()
    assert restored.get(timeout=60) == [0, 1, 2, 3, 4]
    restored.delete(app.backend)
    assert GroupResult.restore("group-1", app.backend) is None


def test_who_waits_is_woken_and_does_not_poll(app: Any) -> None:
    delays = []
    for _ in range(20):
        result = AsyncResult(str(uuid.uuid4()), app=app)
        timer = threading.Timer(
            0.01, app.backend.store_result, (result.id, time.monotonic, states.SUCCESS)
        )
        timer.args = (result.id, None, states.SUCCESS)
        timer.start()
        began = time.monotonic()
        result.get(timeout=60, interval=3.0)
        delays.append(time.monotonic() - began)
    # Celery's polling would look every three seconds; half of all waits being shorter is no luck.
    assert sorted(delays)[10] < 2.0


def test_the_result_of_a_task_called_here_is_heard_and_not_looked_for(
    app: Any, task_id: str
) -> None:
    result = app.AsyncResult(task_id)
    app.backend.on_task_call(None, task_id)
    app.backend.get = mock.Mock(side_effect=AssertionError("it was looked for"))
    threading.Thread(target=app.backend.store_result, args=(task_id, 1, states.SUCCESS)).start()
    assert result.get(timeout=60) == 1


def test_a_result_that_is_there_before_its_subscription_is_read_a_moment_later(
    app: Any, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omx_tasks.results.listener.AT_ONCE", 3600.0)
    app.backend.store_result(task_id, 1, states.SUCCESS)
    app.backend.on_task_call(None, task_id)
    app.backend.get = mock.Mock(side_effect=AssertionError("it was looked for"))
    assert app.AsyncResult(task_id).get(timeout=60) == 1


def test_a_result_that_is_heard_is_not_read(
    app: Any, task_id: str, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omx_tasks.results.listener.AT_ONCE", 3600.0)
    monkeypatch.setattr("omx_tasks.results.listener.LATER", 3600.0)
    listener = app.backend.result_consumer._listener
    read = mock.Mock(wraps=listener._read)
    monkeypatch.setattr(listener, "_read", read)
    app.backend.on_task_call(None, task_id)
    key = app.backend.get_key_for_task(task_id).decode()
    until(lambda: listener.listen(0.01) and key in listener._links._confirmed)
    app.backend.store_result(task_id, 1, states.SUCCESS)
    assert app.AsyncResult(task_id).get(timeout=60) == 1
    assert not read.called


def test_a_result_that_comes_while_somebody_begins_to_wait_is_not_missed(
    app: Any, task_id: str, until: Until
) -> None:
    """It is heard after the buffer was found empty and before anybody is known to wait for it."""
    backend, result = app.backend, app.AsyncResult(task_id)
    backend.on_task_call(None, task_id)
    add = backend._add_pending_result

    def add_too_late(*args: Any, **kwargs: Any) -> None:
        backend.store_result(task_id, 1, states.SUCCESS)
        until(
            lambda: (
                backend.result_consumer._listener.listen(0.01) and backend.result_consumer._count
            )
        )
        add(*args, **kwargs)

    backend._add_pending_result = add_too_late
    assert result.get(timeout=60) == 1


def test_many_threads_wait_for_results_of_their_own(app: Any) -> None:
    names = [str(uuid.uuid4()) for _ in range(8)]
    got: dict[str, Any] = {}

    def wait(name: str) -> None:
        got[name] = app.AsyncResult(name).get(timeout=60)

    threads = [threading.Thread(target=wait, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for name in names:
        app.backend.store_result(name, name, states.SUCCESS)
    for thread in threads:
        thread.join(10)
    assert got == {name: name for name in names}


def test_two_threads_wait_for_one_result(app: Any, task_id: str) -> None:
    got: list[Any] = []
    threads = [
        threading.Thread(target=lambda: got.append(app.AsyncResult(task_id).get(timeout=60)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    app.backend.store_result(task_id, 7, states.SUCCESS)
    for thread in threads:
        thread.join(10)
    assert got == [7, 7]


def test_an_unreadable_result_does_not_end_the_listening(
    app: Any, task_id: str, until: Until
) -> None:
    bad, good = app.AsyncResult(task_id), app.AsyncResult(str(uuid.uuid4()))
    for result in (bad, good):
        app.backend.add_pending_result(result)
    listener = app.backend.result_consumer._listener
    until(lambda: listener.listen(0.01) and len(listener._links._confirmed) == 2)
    key = app.backend.get_key_for_task(task_id).decode()
    app.backend.set(key, "this is no JSON")
    app.backend.store_result(good.id, 1, states.SUCCESS)
    assert good.get(timeout=60) == 1


def test_a_waiting_thread_takes_over_from_the_one_that_listened(
    app: Any, task_id: str, until: Until
) -> None:
    consumer, got = app.backend.result_consumer, []
    first, second = app.AsyncResult(task_id), app.AsyncResult(str(uuid.uuid4()))
    threads = [
        threading.Thread(target=lambda r=result: got.append(r.get(timeout=60)))  # type: ignore[misc]
        for result in (first, second)
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(consumer._listener._links._confirmed) == 2)
    app.backend.store_result(first.id, 1, states.SUCCESS)
    until(lambda: got == [1])
    app.backend.store_result(second.id, 2, states.SUCCESS)
    for thread in threads:
        thread.join(10)
    assert got == [1, 2]


def test_who_found_a_call_listening_listens_when_it_has_been_made(
    app: Any, task_id: str, until: Until
) -> None:
    consumer = app.backend.result_consumer
    listener = consumer._listener
    consumer.consume_from(task_id)
    until(lambda: listener.listen(0.01) and listener._links._confirmed)
    for number in range(500_000):
        listener.unwant(str(number))  # so that the next call takes its time

    def wait() -> None:
        for _ in range(2):  # the first is news to this thread
            consumer.drain_events(timeout=30)

    caller = threading.Thread(target=consumer.expect, args=(str(uuid.uuid4()),))
    waiter = threading.Thread(target=wait)
    caller.start()
    until(lambda: len(listener._changes) < 500_000)
    waiter.start()
    caller.join(10)
    app.backend.store_result(task_id, 1, states.SUCCESS)
    waiter.join(10)
    assert not waiter.is_alive()


def _store_when_it_is_waited_for(app: Any, task_id: str, until: Until) -> None:
    links = app.backend.result_consumer._listener._links
    key = app.backend.get_key_for_task(task_id).decode()

    def store() -> None:
        until(lambda: key in links._confirmed)
        app.backend.store_result(task_id, 1, states.SUCCESS)

    threading.Thread(target=store).start()


def test_a_callback_may_wait_for_another_result(app: Any, task_id: str, until: Until) -> None:
    first, second = app.AsyncResult(task_id), app.AsyncResult(str(uuid.uuid4()))
    got: list[Any] = []

    def then(_result: Any) -> None:
        _store_when_it_is_waited_for(app, second.id, until)
        got.append(second.get(timeout=60))

    first.then(then)
    _store_when_it_is_waited_for(app, task_id, until)
    assert first.get(timeout=60) == 1
    assert got == [1]


def test_a_callback_that_fails_keeps_nobody_waiting(app: Any, task_id: str, until: Until) -> None:
    result = app.AsyncResult(task_id)

    def fail(_meta: Any) -> None:
        raise ValueError("of the callback")

    _store_when_it_is_waited_for(app, task_id, until)
    with pytest.raises(ValueError, match="of the callback"):
        result.get(timeout=10, on_message=fail)
    assert result.get(timeout=60) == 1


def test_results_that_nobody_waits_for_are_taken_with_later_calls(app: Any, until: Until) -> None:
    names: list[str] = []

    def call_another() -> int:
        names.append(str(uuid.uuid4()))
        app.backend.on_task_call(None, names[-1])
        app.backend.store_result(names[-1], 1, states.SUCCESS)
        count: int = app.backend.result_consumer._count
        return count

    until(call_another)
    assert all(app.AsyncResult(name).get(timeout=60) == 1 for name in names)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_waits_for_results_too(app: Any, task_id: str) -> None:
    app.backend.add_pending_result(app.AsyncResult("some-other-task"))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(app.AsyncResult(task_id).get(timeout=60)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    app.backend.store_result(task_id, "for the child", states.SUCCESS)
    assert os.read(reading, 100) == b"for the child"
    os.close(reading)
    os.waitpid(child, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("called", [True, False], ids=["called", "asked for"])
def test_a_forked_process_waits_for_what_its_parent_called(
    app: Any, task_id: str, called: bool
) -> None:
    result = app.AsyncResult(task_id)
    if called:
        app.backend.on_task_call(None, task_id)
    app.backend.add_pending_result(result)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(result.get(timeout=60)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    app.backend.store_result(task_id, "for the child", states.SUCCESS)
    assert os.read(reading, 100) == b"for the child"
    os.close(reading)
    os.waitpid(child, 0)


def _links_of_a_listener(store: Store, until: Until) -> list[weakref.ref[Link]]:
    listener = Listener(store, lambda _key, _value: None)
    listener.want("never")
    until(lambda: listener.listen(0.01) and listener._links._confirmed)
    return [weakref.ref(link) for link in listener._links._links.values()]


def test_a_listener_that_is_dropped_leaves_no_thread_and_no_link(
    store: Store, until: Until
) -> None:
    """Celery drops a backend together with its app, without a word."""
    before = set(threading.enumerate())
    links = _links_of_a_listener(store, until)
    (thread,) = set(threading.enumerate()) - before
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    assert not any(link() for link in links)


def test_a_listener_goes_on_after_its_connections_are_killed(
    app: Any, task_id: str, until: Until
) -> None:
    result = app.AsyncResult(task_id)
    app.backend.add_pending_result(result)
    listener = app.backend.result_consumer._listener
    links = listener._links
    until(lambda: listener.listen(0.01) and links._confirmed)
    for link in list(links._links.values()):
        link._socket.shutdown(2)
    app.backend.store_result(task_id, 1, states.SUCCESS)
    assert result.get(timeout=60) == 1


def test_a_result_arrives_whose_connections_the_server_killed_while_somebody_waited(
    app: Any, task_id: str, until: Until
) -> None:
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(app.AsyncResult(task_id).get(timeout=60)))
    app.backend.on_task_call(None, task_id)
    links = app.backend.result_consumer._listener._links
    key = app.backend.get_key_for_task(task_id).decode()
    waiting.start()
    until(lambda: key in links._confirmed)
    seen = [_confirmed_link(links, key)]
    for _ in range(3):  # also the links that are made again
        killed = app.backend.store.command(key, "CLIENT", "KILL", "TYPE", "pubsub")
        assert killed >= 1
        until(lambda: _confirmed_link(links, key) not in (None, *seen))
        seen.append(_confirmed_link(links, key))
    app.backend.store.command(key, "CLIENT", "KILL", "TYPE", "pubsub")
    app.backend.store_result(task_id, "after all", states.SUCCESS)  # perhaps nobody hears it
    waiting.join(20)
    assert got == ["after all"]


def _confirmed_link(links: Any, key: str) -> Any:
    return links._subscribed.get(key) if key in links._confirmed else None


# --- chords: the count of parts ---------------------------------------------------------------------


def _request(part: str, group: str, size: int) -> Any:
    return mock.Mock(
        id=part, group=group, group_index=0, chord={"task": "body", "chord_size": size}
    )


def _count(backend: Any, part: str, group: str) -> int:
    """Return what Celery's own code is given as the count, 0 when it is not called at all."""
    numbers: list[int] = []

    def counting(self: Any, request: Any, *_args: Any, **_kwargs: Any) -> None:
        numbers.append(self.incr(self.get_key_for_chord(request.group)))

    with mock.patch.object(BaseKeyValueStoreBackend, "on_chord_part_return", counting):
        backend.on_chord_part_return(_request(part, group, 2), "SUCCESS", None)
    return numbers[0] if numbers else 0


def test_a_part_that_is_told_again_does_not_complete_a_chord(app: Any) -> None:
    group = str(uuid.uuid4())
    told = [_count(app.backend, part, group) for part in ("a", "a", "b", "a", "b")]
    assert told == [0, 0, 2, 0, 2]


def test_a_part_that_is_told_after_the_chord_is_over_does_not_count(app: Any) -> None:
    backend, group = app.backend, str(uuid.uuid4())
    _count(backend, "a", group)

    def finish(self: Any, request: Any, *_args: Any, **_kwargs: Any) -> None:
        self.delete(self.get_key_for_chord(request.group))

    with mock.patch.object(BaseKeyValueStoreBackend, "on_chord_part_return", finish):
        backend.on_chord_part_return(_request("b", group, 2), "SUCCESS", None)
    assert _count(backend, "a", group) == 0


def _completes(backend: Any, part: str, group: str) -> bool:
    """Say that a part returned; whether Celery then ends the chord."""
    ended: list[int] = []

    def end(self: Any, request: Any, *_args: Any, **_kwargs: Any) -> None:
        ended.append(request.chord["chord_size"])
        self.delete(self.get_key_for_chord(request.group))

    with mock.patch.object(BaseKeyValueStoreBackend, "on_chord_part_return", end):
        request = mock.Mock(id=part, group=group, group_index=ord(part), chord={"task": "body"})
        backend.on_chord_part_return(request, "SUCCESS", None)
    return bool(ended)


def _begin(app: Any, group: str) -> None:
    app.backend.apply_chord((group, [app.AsyncResult("a"), app.AsyncResult("b")]), None)


def test_a_chord_has_the_size_that_celery_says_not_that_of_its_header(app: Any) -> None:
    backend, group = app.backend, str(uuid.uuid4())
    _begin(app, group)
    told_early = _completes(backend, "a", group)
    backend.set_chord_size(group, 3)
    assert [told_early, *(_completes(backend, p, group) for p in "bc")] == [False, False, True]


def test_a_part_that_is_added_must_return_too(app: Any) -> None:
    backend, group = app.backend, str(uuid.uuid4())
    _begin(app, group)
    backend.set_chord_size(group, 2)
    for _ in range(2):  # told again, it is still one
        backend.add_to_chord(group, app.AsyncResult("c"))
    assert [_completes(backend, part, group) for part in "abc"] == [False, False, True]


@pytest.mark.parametrize("seconds, kept", [(600, range(500, 601)), (0, [-1])])
def test_a_chord_is_kept_as_long_as_it_may_take(app: Any, seconds: int, kept: Any) -> None:
    app.conf.result_chord_expires = seconds
    group = str(uuid.uuid4())
    key = app.backend.get_key_for_chord(group).decode()
    _begin(app, group)
    begun = app.backend.store.command(key, "TTL", key)
    app.backend.set_chord_size(group, 2)
    _completes(app.backend, "a", group)
    assert [life in kept for life in (begun, app.backend.store.command(key, "TTL", key))] == [
        True,
        True,
    ]


def test_a_header_that_was_never_stored_is_known_by_its_parts(app: Any) -> None:
    backend, group = app.backend, str(uuid.uuid4())
    backend.set_chord_size(group, 2)
    restored: list[Any] = []

    def end(self: Any, request: Any, *_args: Any, **_kwargs: Any) -> None:
        restored.append(self.restore_group(request.group))
        restored.append([self.is_cached(task) for task in ("a", "b", "c")])

    with mock.patch.object(BaseKeyValueStoreBackend, "on_chord_part_return", end):
        for part in "ba":
            request = mock.Mock(id=part, group=group, group_index=ord(part), chord={"task": "x"})
            backend.on_chord_part_return(request, "SUCCESS", None)
    assert [part.id for part in restored[0]] == ["a", "b"]
    assert restored[1] == [True, True, False]


def test_a_chord_that_is_applied_again_is_a_new_run(app: Any) -> None:
    backend, group = app.backend, str(uuid.uuid4())
    for _ in range(2):
        _begin(app, group)
        backend.set_chord_size(group, 2)
        assert [_completes(backend, part, group) for part in "ab"] == [False, True]


def test_a_chord_that_a_redelivered_task_applies_again_is_the_same_run(app: Any) -> None:
    backend, group = app.backend, str(uuid.uuid4())
    task = app.task(_begin)
    completed = []
    for _ in range(2):
        _task_stack.push(task)
        task.push_request(id=f"task-of-{group}", called_directly=False)
        try:
            _begin(app, group)
        finally:
            task.pop_request()
            _task_stack.pop()
        backend.set_chord_size(group, 2)
        completed += [_completes(backend, part, group) for part in "ab"]
    assert completed == [False, True, False, False]


def test_a_task_that_calls_others_does_not_listen_to_them(app: Any, task_id: str) -> None:
    with denied_join_result():
        app.backend.on_task_call(None, task_id)
    assert not app.backend.result_consumer._wanted


def test_an_operation_with_the_marker_is_handed_on_instead_of_counted(app: Any) -> None:
    told: list[Any] = []
    request = mock.Mock(chord=MARKER)
    app.backend.part_returned = lambda *given: told.append(given)
    app.backend.on_chord_part_return(request, "SUCCESS", 1)
    assert told == [(request, "SUCCESS", 1)]


def test_the_address_is_shown_without_its_password(app: Any) -> None:
    backend = Backend(app, url="rediscluster://ann:secret@one:7000,two:7001")
    assert backend.as_uri() == "rediscluster://ann:**@one:7000,two:7001"
    assert "secret" in backend.as_uri(include_password=True)
