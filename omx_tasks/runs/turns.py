"""Looks after the turns at servers: no turn stays with an operation that is over, and nobody waits for a run that is.

Agents pass turns on by themselves. What is found here is what one left behind that died, and what a cancelled or
forgotten run leaves: its places in the lines, and the messages that were parked there. Everything here may be done
twice, and by several at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from omx_tasks.broker import queues, turns
from omx_tasks.broker.turns import Next, Turn, Turns
from omx_tasks.graph.marker import names_of
from omx_tasks.graph.stored import StoredPlan
from omx_tasks.results import joins
from omx_tasks.store import keys
from omx_tasks.store.client import Store

#: Seconds after which somebody is told again that it is his turn.
LONG = 2.0
#: Turns of one server that one look sees, and places that one script gives up.
MOST = 500


def read(store: Store) -> list[Turns]:
    """Return the turns of all servers that any agent offered."""
    known = store.command(keys.catalogue(), "HKEYS", keys.catalogue())
    servers = sorted(name.decode() for name in known)
    answers = store.run_many([turns.read(server, most=MOST) for server in servers])
    return [
        turns.read_turns(server, answer) for server, answer in zip(servers, answers, strict=True)
    ]


def waits(store: Store, run_id: str) -> dict[str, str]:
    """Return what the operations of a run wait for that have a place in a line, in words."""
    document = store.run(joins.read_plan(run_id))
    servers = sorted(StoredPlan.parse(document).servers) if document else []
    answers = store.run_many([turns.before(server, run_id) for server in servers])
    return {
        names_of(id_)[1].partition(":")[0]: f"waits for its turn on {server} ({before} before it)"
        for server, answer in zip(servers, answers, strict=True)
        for id_, before in turns.read_before(answer).items()
        if before
    }


def free(store: Store) -> int:
    """Free the turns and places that nobody needs any more; return how many turns."""
    return sum(_free(store, found) for found in read(store) if found.turns)


def _free(store: Store, found: Turns) -> int:
    """Give up what belongs to runs that are over, then the turns of operations that are."""
    holders: dict[str, list[Turn]] = {run_id: [] for run_id in found.runs}
    for turn in found.turns:
        holders.setdefault(names_of(turn.id)[0], []).append(turn)
    freed = 0
    for run_id, held in holders.items():
        operations = [names_of(turn.id)[1] for turn in held]
        is_over, generation, *nothing_left = store.run(joins.over(run_id, operations))
        if is_over:
            leave(store, found.server, run_id, generation)
        over = [turn for turn, nothing in zip(held, nothing_left, strict=True) if nothing]
        for turn in over:
            _pass_on(store, turn)
        late = [turn for turn in held if not turn.told and found.time - turn.since > LONG]
        _wake(store, [Next(turn.id, turn.queue) for turn in late if turn not in over])
        freed += len(over)
    return freed


def leave(store: Store, server: str, run_id: str, generation: int) -> None:
    """Take a run out of the lines of a server, and its messages out of their queues.

    It may have been resumed since somebody saw in which ``generation`` it was over: what came after that stays.
    """
    while gone := turns.left(store.run(turns.leave(server, run_id, generation, most=MOST))):
        by_queue: dict[str, list[str]] = defaultdict(list)
        for one in gone:
            by_queue[one.queue].append(one.id)
        store.run_many([queues.withdraw(queue, ids) for queue, ids in by_queue.items()])


def _pass_on(store: Store, turn: Turn) -> None:
    following = turns.passed(store.run(turns.pass_on(turn.server, turn.resource, turn.id)))
    _wake(store, [] if following is None else [following])
    store.run(queues.withdraw(turn.queue, [turn.id]))


def _wake(store: Store, late: Iterable[Next]) -> None:
    store.run_many([one.wake() for one in late])
