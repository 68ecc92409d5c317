"""Turns at a server, as calls to the stored scripts: one write at once, over all agents and runs.

::

    ask ──► waiting ──(who had the turn passes it)──► next ──ask──► holds ──pass──► (gone)
     └── nobody has the turn ──────────────────────────────────────────┘

A server has one turn, or one for each resource that its calls name. Whoever asks is known by the id of his message.
Asked twice, he has one place; he keeps it, and the turn, whatever happens to his agent, until it is passed on. The line
is first in, first out by run, and within a run by rank. Who waits has his message parked; whoever passes the turn wakes
the next one's (see ``queues``). Each function here makes one `Call`, or reads its answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from omx_tasks.broker import queues
from omx_tasks.store import keys
from omx_tasks.store.scripts import Call, script


class Asking(NamedTuple):
    """One operation that asks for its turn: ``id`` and ``queue`` are its message's, ``rank`` is milliseconds.

    The ``resource`` is empty where calls name none (see `Hints.resource_of`).
    """

    resource: str
    id: str
    rank: int
    queue: str


class Next(NamedTuple):
    """Whoever is to be woken: the turn is his, and he does not know it."""

    id: str
    queue: str

    def wake(self) -> Call:
        """Have his message claimed."""
        return queues.wake(self.queue, [self.id])


class Turn(NamedTuple):
    """One turn at a moment: who has it, since when (Unix seconds), how many wait, and the longest since when.

    ``told`` says whether he who has it knows it.
    """

    server: str
    resource: str
    id: str
    queue: str
    told: bool
    since: float
    waiting: int
    oldest: float | None


class Turns(NamedTuple):
    """All turns at a server, and the runs that have one or wait for one. ``time`` is the cluster's, Unix seconds."""

    server: str
    time: float
    runs: list[str]
    turns: list[Turn]


def ask(server: str, askings: Iterable[Asking]) -> Call:
    """Ask for turns; read the answer's parts, one for each, with `asked`."""
    arguments = [word for asking in askings for word in asking]
    return Call(script("turn_ask_1"), keys.turn_keys(server), arguments, durable=True)


def asked(answer: Sequence[Any]) -> tuple[int, Next | None]:
    """Read one part of the answer to `ask`: how many come before (0: it is his turn), and who is to be woken."""
    before, *lost = answer
    return int(before), _next(lost)


def pass_on(server: str, resource: str, id_: str) -> Call:
    """Give up a turn, or a place in the line; read the answer with `passed`."""
    return Call(script("turn_pass_1"), keys.turn_keys(server), (resource, id_), durable=True)


def passed(answer: Sequence[Any]) -> Next | None:
    """Read the answer to `pass_on`: who is to be woken, if anybody."""
    return _next(answer)


def leave(server: str, run_id: str, generation: int, *, most: int = 500) -> Call:
    """Take a run's operations out of the line; answers id and queue of each.

    Those of a later ``generation`` stay: it was resumed meanwhile. -1 stands for all.
    """
    arguments = (run_id, generation, most)
    return Call(script("turn_leave_1"), keys.turn_keys(server), arguments, durable=True)


def left(answer: Sequence[Any]) -> list[Next]:
    """Read the answer to `leave`: the messages of those that waited."""
    words = [word.decode() for word in answer]
    return [Next(*pair) for pair in zip(words[0::2], words[1::2], strict=True)]


def before(server: str, run_id: str, *, most: int = 1000) -> Call:
    """Ask how many come before the operations of a run; read the answer with `read_before`."""
    return Call(script("turn_before_1"), keys.turn_keys(server), (run_id, most))


def read_before(answer: Sequence[Any]) -> dict[str, int]:
    """Read the answer to `before`: message id → how many; 0 has the turn."""
    return {id_.decode(): int(n) for id_, n in zip(answer[0::2], answer[1::2], strict=True)}


def read(server: str, *, most: int = 100) -> Call:
    """Read the turns at a server, the ``most`` with the longest lines; read the answer with `read_turns`."""
    return Call(script("turns_1"), keys.turn_keys(server), (most,))


def read_turns(server: str, answer: Sequence[Any]) -> Turns:
    """Read the answer to `read`."""
    time, runs, *turns = answer
    return Turns(
        server, _seconds(time), [run.decode() for run in runs], [_turn(server, *t) for t in turns]
    )


def _turn(
    server: str,
    resource: bytes,
    id_: bytes,
    queue: bytes,
    state: bytes,
    since: bytes,
    waiting: int,
    oldest: bytes,
) -> Turn:
    longest = _seconds(oldest) or None
    names = (server, resource.decode(), id_.decode(), queue.decode())
    return Turn(*names, state == b"holds", _seconds(since), int(waiting), longest)


def _next(words: Sequence[Any]) -> Next | None:
    return Next(*(word.decode() for word in words)) if words else None


def _seconds(micros: bytes) -> float:
    return int(micros) / 1_000_000
