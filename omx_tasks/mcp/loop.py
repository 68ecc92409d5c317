"""One asyncio loop in a daemon thread: where every session of a process lives.

The rest of the product is synchronous and hands coroutines over. The thread must be started
after any fork, because threads and sockets do not survive one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class LoopThread:
    """An event loop with a thread of its own. ``start`` and ``stop`` may be called repeatedly."""

    def __init__(self, name: str = "omx-mcp-loop") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    def __repr__(self) -> str:
        state = "running" if self._is_running() else "stopped"
        return f"<LoopThread {self._name} {state}>"

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; raises ``RuntimeError`` when it is not started in this process."""
        if not self._is_running() or self._loop is None:
            raise RuntimeError(f"{self!r}: call start() first, in this process, after any fork")
        return self._loop

    def start(self) -> None:
        """Start the loop; nothing happens if it runs. Returns when it accepts coroutines."""
        with self._lock:
            if self._is_running():
                return
            loop = asyncio.new_event_loop()
            ready = threading.Event()
            loop.call_soon(ready.set)
            thread = threading.Thread(
                target=self._serve, args=(loop,), name=self._name, daemon=True
            )
            self._loop, self._thread, self._pid = loop, thread, os.getpid()
            thread.start()
            ready.wait()

    def stop(self, timeout: float = 10.0) -> None:
        """Cancel what is left, await it for up to ``timeout`` seconds, end the thread."""
        with self._lock:
            if not self._is_running() or self._loop is None or self._thread is None:
                return
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        loop.call_soon_threadsafe(lambda: loop.create_task(_drain(loop, timeout)))
        thread.join(timeout + 5)
        if thread.is_alive():
            logger.error("%s did not end; a callback blocks its loop", self._name)

    def submit(self, work: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Run a coroutine on the loop and return at once; cancelling the future cancels it."""
        try:
            loop = self.loop
        except RuntimeError:
            work.close()
            raise
        return asyncio.run_coroutine_threadsafe(work, loop)

    def run(self, work: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        """Run a coroutine and wait for its result, at most ``timeout`` seconds.

        Raises ``TimeoutError`` and cancels the coroutine when it takes longer. Must not be called
        on the loop's own thread, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("run() was called on the loop's own thread; await the coroutine")
        future = self.submit(work)
        try:
            return future.result(timeout)
        except BaseException:
            # Also when the waiting thread is interrupted; nothing happens if it is done.
            future.cancel()
            raise

    def _is_running(self) -> bool:
        return self._thread is not None and self._pid == os.getpid() and self._thread.is_alive()

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _drain(loop: asyncio.AbstractEventLoop, timeout: float) -> None:
    me = asyncio.current_task()
    left = {task for task in asyncio.all_tasks() if task is not me}
    try:
        for task in left:
            task.cancel()
        if left:
            _, still = await asyncio.wait(left, timeout=timeout)
            for task in still:
                logger.error("left running when the loop stopped: %r", task)
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()
    finally:
        loop.stop()
