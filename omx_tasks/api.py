"""The Python interface: build a graph, submit it, wait for it. Synchronous; one connection a process.

>>> graph = Graph(name="clock", operations=[
...     Operation(id="now", server="time", tool="get_current_time", arguments={"timezone": "UTC"}),
... ])
>>> graph.submit().wait().operations["now"].text  # doctest: +SKIP

The cluster is the one of ``OMX_BROKER_URL``, else the one that ``omx up`` started on this machine.

All times are seconds, moments are Unix seconds. Errors are those of `omx_tasks.errors`: a `UsageError` says what to
mend (`GraphError`, `ConfigurationError`, `NotFoundError`), an `UnavailableError` that the cluster could not be
reached. That an operation failed is no exception: the run's view says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Literal, TypeAlias

from omx_tasks import settings
from omx_tasks.agents import templates
from omx_tasks.agents.matcher import Matcher, check_words
from omx_tasks.agents.registry import agents, broken_servers, catalogue
from omx_tasks.errors import ConfigurationError, OmxError
from omx_tasks.events import refusals
from omx_tasks.events.bus import Draft
from omx_tasks.events.now import publish_now
from omx_tasks.graph import model
from omx_tasks.graph.checks import check
from omx_tasks.graph.collector import at_rest
from omx_tasks.graph.model import bind_inputs
from omx_tasks.graph.plan import compile_checked
from omx_tasks.results import durations
from omx_tasks.runs.cancel import cancel, wait_until_settled
from omx_tasks.runs.follow import Change, follow
from omx_tasks.runs.resume import resume
from omx_tasks.runs.submit import submit
from omx_tasks.runs.view import RunView, read
from omx_tasks.store import keys
from omx_tasks.store.client import Store
from omx_tasks.store.in_use import make_store

logger = logging.getLogger(__name__)

#: What becomes of an operation of which nobody knows whether it was done.
Choice: TypeAlias = Literal["keep", "retry", "done"]


class Run:
    """A run that was submitted; ``id`` finds it again, from any process, until it is no longer kept.

    Its methods raise `NotFoundError` where there is no such run, and `UnavailableError` where the cluster cannot be
    reached.
    """

    def __init__(self, run_id: str, store: Store | None = None) -> None:
        self.id = run_id
        self._store = store or default_store()

    def __repr__(self) -> str:
        return f"<Run {self.id}>"

    def status(self) -> RunView:
        """Return the run as it is now: its state, and each operation's state, times, output and error."""
        return read(self._store, self.id)

    def changes(self, timeout: float | None = None, *, generation: int = 0) -> Iterator[Change]:
        """Yield each change of state from the run's beginning to its end, as it comes, and all progress.

        However late one begins, all changes of state come, and of each operation's progress the newest. Ends without an
        error after ``timeout`` seconds. Several may follow one run. With ``generation``, from its n-th resumption on.
        """
        return follow(self._store, self.id, timeout=timeout, generation=generation)

    def wait(self, timeout: float | None = None) -> RunView:
        """Wait until the run is over and return it, whether it succeeded or not.

        Raises `TimeoutError` after ``timeout`` seconds; the run goes on.
        """
        for _ in self.changes(timeout):
            pass
        view = self.status()
        if not view.over:
            raise TimeoutError(f"run {self.id} was not over after {timeout} s; it goes on")
        return view

    def cancel(self, timeout: float = 0.0) -> bool:
        """End the run: what waits is not started any more, what runs is cut off.

        Servers are told of each call that is cut off. ``timeout`` is the seconds to wait for that. Returns False,
        instead of an error, when there is no such run. A run that is over stays as it is.
        """
        state = cancel(self._store, self.id)
        if state == "cancelled":
            about = keys.run(self.id)
            name = self._store.command(about, "HGET", about, "name")
            said = {"run": self.id, "name": name.decode()}
            _tell(self._store, Draft("run.cancelled", said, key=self.id))
        if state == "cancelled" and timeout:
            wait_until_settled(self._store, self.id, timeout)
        return bool(state)

    def resume(
        self,
        unknown: Choice = "keep",
        choices: Mapping[str, Choice] | None = None,
        again: Iterable[str] = (),
    ) -> int:
        """Take up a run that failed or was cancelled: begin anew what is not done; return how often that was now.

        What is `unknown` may have been done: with ``retry`` it is done again, with ``done`` it counts as done, else it
        stays so; ``choices`` are for single operations. What was done on the servers in ``again`` is done again, and
        all that needs it. Raises `UsageError` where there is nothing to take up.
        """
        return resume(self._store, self.id, unknown, choices, again)


class Graph(model.Graph):
    """Operations and what each needs: ``Graph(name=…, operations=[…])``, or ``Graph.load(path)``, to be submitted.

    Making one raises `GraphError` with all that it can tell by itself: unknown keys, wrong values.
    """

    def submit(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        store: Store | None = None,
        wait_for_agents: bool = False,
    ) -> Run:
        """Check the graph against what the agents offer, store it and start it.

        ``inputs`` are the values of the graph's inputs, by name. After ``timeout`` seconds (default: the graph's own)
        the run is cancelled, wherever its producer is then. With ``wait_for_agents`` it is queued also where no agent
        that is up could take an operation, until one comes that can.

        Raises `GraphError` (the graph or an input is wrong), `ConfigurationError` (no agent is up, or none could run an
        operation) or `UnavailableError` (the cluster cannot be reached) where nothing was queued, and
        `UnconfirmedError` where the run may be stored all the same.
        """
        return submit_graph(
            store or default_store(),
            self,
            inputs or {},
            timeout=timeout,
            wait_for_agents=wait_for_agents,
        )


@at_rest()
def submit_graph(
    store: Store,
    graph: model.Graph,
    inputs: Mapping[str, Any],
    *,
    source: str = "",
    timeout: float | None = None,
    wait_for_agents: bool = False,
    run_id: str | None = None,
) -> Run:
    """Check a graph against the agents of a cluster, and submit it, as the run ``run_id`` where that is given."""
    given = settings.current()
    with refusals.told(store, graph.name, source):
        bound = bind_inputs(graph, inputs, source)
        check_against_agents(store, graph, source=source, wait_for_agents=wait_for_agents)
        plan = compile_checked(graph, durations.read(store, graph))
        run_id = submit(
            store,
            plan,
            bound,
            keep=given.keep_runs,
            timeout=timeout,
            partitions=given.partitions,
            run_id=run_id,
        )
    said = {"run": run_id, "name": graph.name, "operations": len(plan.steps)}
    _tell(store, Draft("run.submitted", said, key=run_id))
    return Run(run_id, store)


def _tell(store: Store, draft: Draft) -> None:
    """Publish an event of something that is done: it stays done, also where that cannot be told."""
    try:
        publish_now(store, settings.current(), [draft])
    except OmxError as error:
        logger.warning("the event %s of %s was not published: %s", draft.type, draft.key, error)


def check_against_agents(
    store: Store, graph: model.Graph, *, source: str = "", wait_for_agents: bool = False
) -> None:
    """Raise `GraphError` or `ConfigurationError` where no agent could run the graph as it is.

    With ``wait_for_agents`` what is only not up now is let pass.
    """
    records = agents(store)
    matcher = Matcher(templates.load(settings.current().templates), records)
    if not records:
        check(graph, source=source)
        check_words(graph, matcher.words, source)
        if wait_for_agents:
            return
        raise ConfigurationError(
            f"no agent is up on {store.address}: start one with `celery -A omx_tasks worker`"
        )
    offered = catalogue(store)
    broken = broken_servers(records)
    servers = {server for record in records for server in record.servers}
    servers |= broken.keys() | matcher.roles.keys()
    check(graph, servers=servers, catalogue=offered, source=source)
    where = f"{source}: " if source else ""
    for operation in graph.operations:
        if operation.server in broken:
            raise ConfigurationError(
                f"{where}operation {operation.id!r}: {broken[operation.server]}"
            )
    matcher.check(graph, source, wait=wait_for_agents)


@cache
def default_store() -> Store:
    """Return this process's client of the cluster in use."""
    return make_store()


__all__ = ["Graph", "OmxError", "Run", "submit_graph"]
