"""The state of a run, as calls to its scripts: submit, start, finish, expand, cancel, resume.

::

    submit ──► running ──► succeeded
                ▲   └────► failed | cancelled ──┐
                └────────── resume ─────────────┘

Everything of a run lives in one slot, so each step is one script: an operation's outcome is stored, counted into
every join that it is part of, and the operations that it made ready are written to the run's outbox, all
at once. They stay there until they are over: a crash between two steps leaves them to be found (`overdue`).

Each resumption begins a generation: outside of the scripts an operation ``a`` is called ``a:1`` in the first one, in
messages and in what agents say. So a message has a new id, which no queue takes for one that was done, and what an
agent still says of an earlier generation does not count.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from omx_tasks.graph.plan import Plan
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import outputs
from omx_tasks.store import keys
from omx_tasks.store.scripts import Call, script

#: States in which an operation has ended.
OVER = frozenset({"succeeded", "failed", "unknown", "skipped", "cancelled"})


#: Items of a foreach that become operations in one script, and operations of a graph that one script stores.
EXPANDED, PREPARED = 500, 2000
#: Seconds after which a run that is announced or prepared and not submitted is taken for one that never will be.
STILLBORN = 3600


@dataclass(frozen=True)
class Outcome:
    """How one operation ended. Times are Unix seconds of the MCP call itself, ``output`` is its value, as it is stored.

    ``cold`` is the seconds for which the call waited until its server's session was open.
    ``shared`` says that an equal call of another operation was answered for both.
    """

    state: str
    attempts: int = 0
    agent: str | None = None
    started: float | None = None
    finished: float | None = None
    error: dict[str, str] | None = None
    output: str | bytes = ""
    cold: float = 0.0
    shared: bool = False

    def record(self) -> str:
        """Return who did it, how often, when, and what went wrong, as JSON."""
        fields = ("attempts", "agent", "started", "finished", "error", "cold")
        return json.dumps({name: getattr(self, name) for name in fields})


@dataclass(frozen=True)
class Start:
    """The answer to `start`: ``verdict`` is ``go``, ``over``, ``gone`` or ``early``.

    ``early``: by what the run knows it is not its turn, since what released it was lost with its node, and will be done
    again. So its message must come back later, and may not be acknowledged.
    With ``go``: the number of this attempt since the operation had an outcome (from 1), how many it had ``before`` its
    run was resumed, the item of a foreach, and the values of the operations that were referred to, by id.
    With ``over``: the operation that this one's message stood for (see `Following`), to be published now.
    """

    verdict: str
    attempt: int = 0
    before: int = 0
    item: Any = None
    values: dict[str, Any] = field(default_factory=dict)
    carried: str | None = None


def announce(run_id: str, at: float) -> Call:
    """Enter a run into the lists of runs; without that nobody would look after it."""
    lists = (keys.runs(), keys.open_runs())
    return Call(script("announce_1"), lists, (run_id, f"{at:.6f}"), durable=True)


def reopen(run_id: str, at: float) -> Call:
    """Enter a run into the list of those that are looked after, once more."""
    return Call(script("announce_1"), (keys.open_runs(),), (run_id, f"{at:.6f}"), durable=True)


def prepare(run_id: str, plan: Plan) -> list[Call]:
    """Make the calls that store all of a large graph but its last part, to be confirmed before `submit`."""
    return [
        Call(
            script("prepare_1"),
            keys.run_keys(run_id),
            (STILLBORN, *_links(plan, first, first + PREPARED)),
            durable=True,
        )
        for first in range(0, len(plan.steps) - PREPARED, PREPARED)
    ]


def submit(
    run_id: str,
    plan: Plan,
    stored: StoredPlan,
    *,
    keep: float,
    timeout: float | None = None,
    prepared: int = 0,
) -> Call:
    """Store a run, of which so many calls were prepared; answers the ids that are ready."""
    head = (
        stored.name,
        stored.document(),
        len(plan.steps),
        round(keep),
        f"{timeout or 0:g}",
        len(plan.roots),
        *plan.roots,
    )
    links = _links(plan, prepared * PREPARED, len(plan.steps))
    return Call(script("submit_1"), keys.run_keys(run_id), (*head, *links), durable=True)


def read_plan(run_id: str) -> Call:
    """Read the plan's document."""
    return Call(script("read_plan_1"), keys.run_keys(run_id))


class Beginning(NamedTuple):
    """An operation that an agent begins; ``token`` names the delivery: each is an attempt.

    Without a token it is only looked at: the answer is the same, and nothing is begun.
    """

    operation: str
    token: str
    references: Sequence[str] = ()


class Following(NamedTuple):
    """The successor that may go on where an operation ends, if that makes it ready, without a message of its own.

    ``carrier`` is the operation whose message stands for it: when that is delivered again, nobody does this one.
    """

    operation: str
    token: str
    carrier: str
    references: Sequence[str] = ()


class Ending(NamedTuple):
    """An operation that ended; ``goes_on`` says that its dependents run even when it failed."""

    operation: str
    outcome: Outcome
    goes_on: bool
    following: Following | None = None


class Finished(NamedTuple):
    """The answer to `finish`: what is to be published, what was begun instead, and the state of a run that is over."""

    ready: list[str]
    begun: Start | None = None
    over: str | None = None


def start(
    run_id: str, agent: str, beginnings: Iterable[Beginning], *, confirmed: bool = False
) -> Call:
    """Say that an agent begins operations; read the answer's parts, one for each, with `started`.

    ``confirmed``: before a call that must not be made twice.
    """
    arguments: list[Any] = [agent]
    for operation, token, references in beginnings:
        arguments += (operation, token, len(references), *references)
    return Call(script("start_1"), keys.run_keys(run_id), arguments, durable=confirmed)


def started(answer: Sequence[Any], references: Sequence[str]) -> Start:
    """Read one operation's part of the answer to `start`."""
    verdict = answer[0].decode()
    if verdict != "go":
        return Start(verdict, carried=answer[2].decode() if len(answer) > 2 else None)
    item = json.loads(answer[3]) if answer[3] else None
    values = {name: _value(parts) for name, parts in zip(references, answer[4:], strict=True)}
    return Start(verdict, int(answer[1]), int(answer[2]), item, values)


def sent(run_id: str, operation: str, token: str, note: str) -> Call:
    """Note that a call is about to be made which must not be made twice; answers whether it may be (`sent_1.lua`).

    Without a note it is only asked whether one was made before.
    """
    arguments = (operation, token, note)
    return Call(script("sent_1"), keys.run_keys(run_id), arguments, durable=True)


def read_note(run_id: str, operation: str) -> Call:
    """Read what was noted of a call that must not be made twice; answers None where it was not made."""
    return Call(script("read_note_1"), keys.run_keys(run_id), (operation,))


def progress(run_id: str, operation: str, told: str) -> Call:
    """Tell how far a running operation is; ``told`` is JSON of progress, total and message."""
    return Call(script("progress_1"), keys.run_keys(run_id), (operation, told))


def finish(run_id: str, endings: Iterable[Ending], agent: str = "") -> Call:
    """Write outcomes; read the answer's parts, one for each, with `finished`. ``agent`` begins what follows."""
    arguments: list[Any] = [agent]
    for operation, outcome, goes_on, following in endings:
        record, output = outcome.record(), outcome.output
        arguments += (operation, outcome.state, int(goes_on), record, output, int(outcome.shared))
        if following is None:
            arguments.append(0)
        else:
            *names, references = following
            arguments += (len(names) + len(references), *names, *references)
    return Call(script("finish_1"), keys.run_keys(run_id), arguments, durable=True)


def finished(answer: Sequence[Any], following: Following | None = None) -> Finished:
    """Read one operation's part of the answer to `finish`."""
    ready, over = made_ready(answer[0])
    if following is None or len(answer) == 1:
        return Finished(ready, None, over)
    return Finished(ready, started(answer[1], following.references), over)


def made_ready(answer: Sequence[bytes]) -> tuple[list[str], str | None]:
    """Read what a script made ready; and, after an empty name, the state of a run that is over."""
    names = [name.decode() for name in answer]
    return (names[:-2], names[-1]) if len(names) > 1 and not names[-2] else (names, None)


def expand(
    run_id: str, operation: str, items: Sequence[Any], first: int = 0, most: int = EXPANDED
) -> Call:
    """Give a foreach its items from number ``first`` on, ``most`` of them; read the answer with `made_ready`."""
    texts = [json.dumps(item) for item in items[first : first + most]]
    arguments = (operation, len(items), first, *texts)
    return Call(script("expand_1"), keys.run_keys(run_id), arguments, durable=True)


def cancel(run_id: str, why: Mapping[str, str] | None = None) -> Call:
    """End a run; answers its state ('' when there is none of that id), generation, and what no agent has begun.

    ``why`` is the error that the run shows, with kind and message.
    """
    arguments = (json.dumps(why) if why else "",)
    return Call(script("cancel_1"), keys.run_keys(run_id), arguments, durable=True)


def resume(
    run_id: str,
    plan: StoredPlan,
    token: str,
    unknown: str = "keep",
    choices: Mapping[str, str] | None = None,
    again: Collection[str] = (),
) -> Call:
    """Take a run up again; answers ['resumed', generation, id, …], or [why not].

    What becomes of unknown operations is ``unknown``, or for single ones in ``choices``: keep, retry, done. Those that
    are named in ``again`` are done again although they succeeded.
    """
    single = choices or {}
    arguments: list[Any] = [token, unknown, len(single)]
    for pair in single.items():
        arguments += pair
    for name, step in plan.steps.items():
        arguments += (name, int(step.goes_on), int(name in again))
    return Call(script("resume_1"), keys.run_keys(run_id), arguments, durable=True)


def look(run_id: str) -> Call:
    """See how a run is, and cancel it when its time is over; answers [state, generation]."""
    return Call(script("look_1"), keys.run_keys(run_id))


def session(run_id: str, server: str, owner: str, operations: Iterable[str]) -> Call:
    """Ask whose the run's session on a stateful server is; answers [owner], [''], or ['lost', operation]."""
    arguments = (server, owner, *operations)
    return Call(script("session_1"), keys.run_keys(run_id), arguments, durable=True)


def running(run_id: str) -> Call:
    """Count the operations that agents work on."""
    return Call(script("running_1"), keys.run_keys(run_id))


def overdue(run_id: str, *, age: float, most: int = 1000) -> Call:
    """Find what was last looked after ``age`` seconds ago and is not over; answers [state, id, carrier, …].

    An operation's carrier is the one whose message stands for it, most often itself.
    """
    return Call(script("overdue_1"), keys.run_keys(run_id), (round(age * 1000), most))


def over(run_id: str, operations: Iterable[str] = ()) -> Call:
    """Ask whether a run is over or gone, and whether nothing is left to do of its operations.

    Answers 1 or 0, its generation (-1: it is gone), then 1 or 0 for each.
    """
    return Call(script("over_1"), keys.run_keys(run_id), tuple(operations))


def read_run(run_id: str) -> Call:
    """Read all of a run."""
    return Call(script("read_run_1"), keys.run_keys(run_id))


def _links(plan: Plan, first: int, last: int) -> list[Any]:
    """Return id, number of needs and successors of the operations from number ``first`` to before ``last``."""
    links: list[Any] = []
    for name, step in islice(plan.steps.items(), first, last):
        links += (name, len(step.needs), json.dumps(plan.followers(name)))
        if step.fallback is not None:
            links += (f"fallback:{name}", 0, json.dumps(step.fallback))
        if step.in_place_of is not None:
            links += (f"in_place_of:{name}", 0, json.dumps(step.in_place_of))
    return links


def _value(parts: Sequence[bytes]) -> Any:
    kind, *rest = parts
    triples = zip(rest[0::3], rest[1::3], rest[2::3], strict=True)
    values = [reference_value(output, record) for _state, output, record in triples]
    return values if kind == b"each" else values[0]


def reference_value(output: bytes | str, record: bytes | str) -> dict[str, Any]:
    """Return what a reference sees of an operation: text, structured, content, error."""
    value = outputs.parsed(output) if output else {"text": None, "structured": None, "content": []}
    value["error"] = json.loads(record)["error"] if record else None
    return dict(value)
