"""The loop thread: started once, stopped clean, never used across a fork."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from omx_tasks.mcp.loop import LoopThread


async def where() -> str:
    return threading.current_thread().name


def test_start_and_stop_may_be_repeated_and_it_starts_again():
    loop = LoopThread("here")
    for _ in range(2):
        loop.start()
        loop.start()
        assert loop.run(where(), 5) == "here"
        loop.stop()
        loop.stop()


def test_a_coroutine_handed_to_a_stopped_loop_is_refused():
    with pytest.raises(RuntimeError, match="start"):
        LoopThread().submit(where())


def test_run_gives_up_after_its_timeout_and_cancels(loop):
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        loop.run(wait(), 0.05)
    assert cancelled.wait(60)


def test_stop_cancels_and_awaits_what_is_left():
    loop = LoopThread()
    loop.start()
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(lambda: None)
            ended.set()

    loop.submit(work())
    assert begun.wait(60)
    loop.stop()
    assert ended.is_set()


def test_run_on_the_loops_own_thread_is_refused(loop):
    async def nested() -> str:
        return loop.run(where(), 1)

    with pytest.raises(RuntimeError, match="own thread"):
        loop.run(nested(), 5)


def test_a_forked_child_must_start_its_own(loop, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="fork"):
        loop.submit(where())
    monkeypatch.undo()
    assert loop.run(where(), 5)
