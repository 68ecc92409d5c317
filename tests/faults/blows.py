"""What can be struck while a load goes on: the cluster, with every `Fault`, and the processes that work on it."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from crew import Member
from faults import Fault, commit, fits
from shard import Cluster

#: Seconds for which a process is stopped: its leases end meanwhile.
STOPPED = 5.0


@dataclass(frozen=True)
class Blow:
    """One kind of harm. ``strike`` does it to one of the ``targets`` and mends what does not mend itself."""

    name: str
    targets: Sequence[str]
    strike: Callable[[str], None]


def blows(cluster: Cluster, queues: Sequence[str], crew: Sequence[Member]) -> list[Blow]:
    """Return the whole vocabulary for this cluster and these processes."""
    members = {member.name: member for member in crew}

    def struck(fault: Fault) -> Callable[[str], None]:
        def strike(queue: str) -> None:
            with commit(fault, cluster, queue):
                pass

        return strike

    def killed(name: str) -> None:
        members[name].kill()
        members[name].start()

    def stopped(name: str) -> None:
        members[name].send_all(signal.SIGSTOP)
        time.sleep(STOPPED)
        members[name].send_all(signal.SIGCONT)

    kinds = sorted({member.kind for member in crew})
    return [
        *(Blow(one.value, queues, struck(one)) for one in Fault if fits(one, cluster)),
        *(
            Blow(f"{kind} {word}", [one.name for one in crew if one.kind == kind], act)
            for kind in kinds
            for word, act in (("killed", killed), ("stopped", stopped))
        ),
    ]


def drawn(known: list[Blow], seed: int) -> Iterator[tuple[Blow, str]]:
    """Yield blows and targets without end: all of them in a random order, then all of them in another one."""
    chance = random.Random(seed)
    while True:
        for blow in chance.sample(known, len(known)):
            yield blow, chance.choice(blow.targets)
