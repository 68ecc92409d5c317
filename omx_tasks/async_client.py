"""The Python interface for programs with an event loop: the same runs, awaited.

>>> async def clock(graph: Graph) -> RunView:
...     async with AsyncClient() as client:
...         run = await client.submit(graph)
...         async for change in run.changes():
...             print(change.operation, change.state)
...         return await run.status()

However many runs a client has under way, it has a few threads for requests and one that follows all of them; a link
to each master for each of these that is busy. The loop never waits for the cluster. Errors: see `omx_tasks.api`.

A caller that is cancelled leaves nothing behind that it does not know of: a run whose submission was cut off is
cancelled, where that came to be stored. A run whose id is known goes on without its followers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Self, TypeAlias, TypeVar

from omx_tasks.api import Choice, Graph, Run, submit_graph
from omx_tasks.errors import OmxError
from omx_tasks.runs.follow import Change
from omx_tasks.runs.followers import Followers
from omx_tasks.runs.view import RunView
from omx_tasks.store.client import Store
from omx_tasks.store.in_use import make_store

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: Threads for requests; what is more waits its turn.
THREADS = 4


News: TypeAlias = "list[Change] | OmxError | None"


class AsyncRun:
    """A run that was submitted; ``id`` finds it again, from any process, until it is no longer kept."""

    def __init__(self, run_id: str, client: AsyncClient) -> None:
        self.id = run_id
        self._client = client
        self._run = Run(run_id, client.store)

    def __repr__(self) -> str:
        return f"<AsyncRun {self.id}>"

    async def status(self) -> RunView:
        """Return the run as it is now."""
        return await self._client.do(self._run.status)

    async def changes(self, timeout: float | None = None) -> AsyncGenerator[Change, None]:
        """Yield each change of state from the run's beginning to its end, as it comes, and all progress.

        Ends without an error after ``timeout`` seconds. Several may follow one run.
        """
        loop = asyncio.get_running_loop()
        came: asyncio.Queue[News] = asyncio.Queue()
        end = None if timeout is None else loop.time() + timeout
        following = self._client.followers.follow(self.id, partial(_hand_over, loop, came))
        try:
            while (news := await _next(came, end)) is not None:
                if isinstance(news, OmxError):
                    raise news
                for change in news:
                    yield change
        finally:
            self._client.followers.leave(following)

    async def wait(self, timeout: float | None = None) -> RunView:
        """Wait until the run is over and return it; `TimeoutError` after ``timeout`` seconds: it goes on then."""
        async with aclosing(self.changes(timeout)) as changes:
            async for _ in changes:
                pass
        view = await self.status()
        if not view.over:
            raise TimeoutError(f"run {self.id} was not over after {timeout} s; it goes on")
        return view

    async def cancel(self) -> bool:
        """End the run: what waits is not started any more, what runs is cut off. False where there is no such run."""
        return await self._client.do(self._run.cancel)

    async def resume(
        self,
        unknown: Choice = "keep",
        choices: Mapping[str, Choice] | None = None,
        again: Iterable[str] = (),
    ) -> int:
        """Take up a run that failed or was cancelled, as `omx_tasks.api.Run.resume` does."""
        return await self._client.do(partial(self._run.resume, unknown, choices, again))


class AsyncClient:
    """Submits runs and finds them again, with ``async with``; without a ``store`` on the cluster in use."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or make_store()
        self.followers = Followers(self.store)
        self._own = store is None
        self._threads = ThreadPoolExecutor(THREADS, "omx")

    def __repr__(self) -> str:
        return f"<AsyncClient {self.store!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def run(self, run_id: str) -> AsyncRun:
        """Return a run that was submitted before, wherever that was."""
        return AsyncRun(run_id, self)

    async def submit(
        self,
        graph: Graph,
        inputs: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        wait_for_agents: bool = False,
    ) -> AsyncRun:
        """Check the graph, store it and start it, as `omx_tasks.api.Graph.submit` does."""
        begin = partial(submit_graph, self.store, graph, inputs or {})
        begun = self._threads.submit(begin, timeout=timeout, wait_for_agents=wait_for_agents)
        try:
            submitted = await asyncio.wrap_future(begun)
        except asyncio.CancelledError:
            begun.add_done_callback(_abandoned)
            raise
        return self.run(submitted.id)

    async def do(self, what: Callable[[], T]) -> T:
        """Make requests that wait for their answer on one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, what)

    def close(self) -> None:
        """End the threads, when what they have begun is done; followers are told that there is nothing more."""
        self.followers.stop()
        self._threads.shutdown()
        if self._own:
            self.store.close()


async def _next(came: asyncio.Queue[News], end: float | None) -> News:
    """Wait for news; None as well when it is too late for any."""
    try:
        async with asyncio.timeout_at(end):
            return await came.get()
    except TimeoutError:
        return None


def _hand_over(
    loop: asyncio.AbstractEventLoop,
    came: asyncio.Queue[News],
    news: News,
) -> None:
    with suppress(RuntimeError):  # the loop was closed, and its followers have not said so
        loop.call_soon_threadsafe(came.put_nowait, news)


def _abandoned(begun: Future[Run]) -> None:
    """Cancel a run whose submission nobody waited for."""
    if begun.cancelled() or begun.exception() is not None:
        return
    run = begun.result()
    try:
        run.cancel()
    except OmxError as error:
        logger.warning(
            "run %s, which nobody waits for, goes on: %s", run.id, error, extra={"run": run.id}
        )


__all__ = ["AsyncClient", "AsyncRun"]
