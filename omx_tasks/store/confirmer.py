"""Makes sure that a write outlives the master that took it, as far as its `Durability` asks for.

After durable calls, one ``WAIT`` (or ``WAITAOF``) goes over the connection that carried them: the server counts from
that connection's last write, so it covers all of them and must be sent nowhere else. Since Valkey counts only from
commands that did write something, every durable script writes on each of its runs, also when it finds its work done:
a repetition asks for the confirmation that the first run did not get.

A master is asked in the way that fits what is known of it::

             ROLE names a replica
    unknown ──────────────────────► followed: WAIT ──0 in time, ROLE names one──► not confirmed, send again
       │                                │
       └──ROLE names none──► alone ◄────┘ 0 in time, ROLE names none
                               └──► accepted by the master alone, or refused: a setting

So a shard without a replica costs a ``ROLE`` a trip, not the time that ``WAIT`` waits in vain. A replica that is named
and has never acknowledged anything is new: it is waited for once, and then taken for none until it speaks.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Any

from omx_tasks.durability import Durability, Promise, WithoutReplica
from omx_tasks.errors import ConfigurationError
from omx_tasks.store import access
from omx_tasks.store.link import Command, Link, ReplyError
from omx_tasks.store.node import Node

#: Milliseconds that a server waits for its replica: a healthy one needs less than one; a disk, a second.
REPLICA_MS, FSYNC_MS = 500, 1500

ROLE: Command = ("ROLE",)
_TOGETHER: dict[Durability, Command] = {
    Durability.REPLICA: ("WAIT", 1, REPLICA_MS),
    Durability.FSYNC: ("WAITAOF", 1, 1, FSYNC_MS),
}
_LOCALLY: Command = ("WAITAOF", 1, 0, FSYNC_MS)
#: Answered at once: whether a server can do what ``fsync`` needs.
PROBE: Command = ("WAITAOF", 1, 0, 1)

logger = logging.getLogger(__name__)


class Confirmer:
    """What one store knows of its masters' replicas. Thread-safe: each change is one of a set, or has the lock."""

    def __init__(self, promise: Promise) -> None:
        self.promise = promise
        self.durability = promise.durability
        #: Masters that have no replica, as far as is known.
        self.alone: set[Node] = set()
        self._accepted: Counter[Node] = Counter()
        self._lock = threading.Lock()
        self._followed: set[Node] = set()

    def __repr__(self) -> str:
        return f"<Confirmer {self.durability} alone={len(self.alone)} accepted={self.accepted.total()}>"

    @property
    def active(self) -> bool:
        """Whether durable calls need more than their answers."""
        return self.durability is not Durability.MEMORY

    @property
    def accepted(self) -> Counter[Node]:
        """How many confirmations came from which master alone."""
        with self._lock:
            return self._accepted.copy()

    def command(self, node: Node) -> Command:
        """Return what to send to a master after durable calls."""
        return _TOGETHER[self.durability] if node in self._followed else ROLE

    def judge(self, node: Node, asked: Command, reply: Any) -> bool | Command:
        """Return whether the calls are confirmed, or what else to ask over the same connection.

        Raises `ConfigurationError` where the server cannot confirm at all.
        """
        if isinstance(reply, ReplyError):
            refuse(reply)
            return False
        if asked == ROLE:
            return self._role(node, reply)
        if asked == _LOCALLY:
            return reply[0] >= 1 and self._accept(node)
        return bool(reply[1] and reply[0] if isinstance(reply, list) else reply) or ROLE

    def pursue(self, link: Link, verdict: bool | Command, deadline: float) -> bool:
        """Ask over a link what there is to ask until it is known; raises `LinkError`, `ConfigurationError`."""
        while not isinstance(verdict, bool):
            (answer,) = link.ask([verdict], deadline)
            verdict = self.judge(link.node, verdict, answer)
        return verdict

    def _role(self, node: Node, reply: list[Any]) -> bool | Command:
        if reply[0] != b"master":
            self.forget(node)
            return False
        waited_in_vain = node in self._followed
        if follows(reply) or (reply[2] and not waited_in_vain and node not in self.alone):
            self._followed.add(node)
            if node in self.alone:
                self.alone.discard(node)
                logger.warning("%s has a replica again, which confirms what it stores", node)
            return False if waited_in_vain else _TOGETHER[self.durability]
        self._followed.discard(node)
        self._note_alone(node)
        if self.promise.without_replica is WithoutReplica.REFUSE:
            return False
        return _LOCALLY if self.durability is Durability.FSYNC else self._accept(node)

    def _note_alone(self, node: Node) -> None:
        if node in self.alone:
            return
        self.alone.add(node)
        accepts = self.promise.without_replica is WithoutReplica.ACCEPT
        consequence = "is confirmed by it alone" if accepts else "is refused until it has one"
        logger.warning("%s has no replica: what it is to store %s", node, consequence)

    def _accept(self, node: Node) -> bool:
        with self._lock:
            self._accepted[node] += 1
        return True

    def why_not(self, node: Node) -> str:
        """Return why a master's calls were not confirmed."""
        if node in self.alone:
            return (
                f"{node} has no replica that could confirm it, and without that it is to be refused"
            )
        return f"no replica of {node} confirmed it"

    def forget(self, node: Node) -> None:
        """Ask for the replicas of a node anew: its connection broke."""
        self._followed.discard(node)


def follows(role: Any) -> bool:
    """Whether a ``ROLE`` answer names a replica that is up to date or was; one that still loads said nothing yet."""
    return (
        isinstance(role, list)
        and role[0] == b"master"
        and any(offset != b"0" for *_, offset in role[2])
    )


def refuse(reply: ReplyError) -> None:
    """Raise `ConfigurationError` for an answer that will not be another one next time."""
    if reply.code == "NOPERM":
        raise ConfigurationError(access.missing_right("use WAIT and ROLE (with fsync: WAITAOF)"))
    if "WAITAOF" in str(reply):
        raise ConfigurationError(
            f"the durability fsync needs Redis 7.2 or Valkey with `appendonly yes`, and the server said: {reply}. "
            "Set that, or ask for the durability replica."
        )
