"""One request to the cluster on its way: what to send and where, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omx_tasks.store import access
from omx_tasks.store.address import Node
from omx_tasks.store.link import Command, ReplyError
from omx_tasks.store.scripts import Call
from omx_tasks.store.topology import Topology, slot_of

#: Answers that say "not here" or "not now", and are worth another try.
PASSING = frozenset(
    {"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS"}
)
#: What a server answers whose memory is full.
FULL = "OOM"
#: Answers after which the slot table is still believed.
LOCAL = frozenset({"NOSCRIPT", "ASK", "TRYAGAIN", FULL})


@dataclass(slots=True, eq=False)
class Request:
    """A command for the node that owns a slot; `settle` says what an answer means for it."""

    slot: int
    command: Command
    key: str = ""
    call: Call | None = None
    asking: Node | None = None
    reply: Any = None
    done: bool = False
    #: Whether it may have been carried out although it is not done: it was sent, and not refused.
    uncertain: bool = False

    @classmethod
    def of(cls, call: Call) -> Request:
        """Return the request of a script call; its first key decides the node."""
        return cls(slot_of(call.keys[0]), call.by_digest(), call.keys[0], call)

    @classmethod
    def plain(cls, key: str, command: Command) -> Request:
        """Return the request of a plain command, for the node that owns ``key``."""
        return cls(slot_of(key), command, key)

    def commands(self) -> tuple[Command, ...]:
        """Return what goes over the wire."""
        return (("ASKING",), self.command) if self.asking else (self.command,)

    @property
    def durable(self) -> bool:
        """Whether the write has to be confirmed before this is done."""
        return self.call is not None and self.call.durable

    @property
    def patient(self) -> bool:
        """Whether full memory is worth another try."""
        return self.call is not None and self.call.patient

    def settle(self, reply: Any, topology: Topology, *, confirmed: bool = True) -> None:
        """Take an answer: the request is done, or prepared for its next try."""
        self.reply, self.asking = reply, None
        if not isinstance(reply, ReplyError):
            self.done = confirmed or not self.durable
            if not self.done:
                self.reply, self.uncertain = None, True
        elif reply.code == "NOSCRIPT" and self.call is not None:
            self.command = self.call.by_text()
        elif reply.code == "MOVED":
            topology.moved(self.slot, redirected(reply))
        elif reply.code == "ASK":
            self.asking = topology.reachable(redirected(reply))
        elif reply.code not in PASSING and not (reply.code == FULL and self.patient):
            self.reply, self.done = self._explained(reply), True

    def _explained(self, reply: ReplyError) -> ReplyError:
        """Add to a missing right what was to be done: servers name neither the script nor the key."""
        if not access.denied(str(reply)):
            return reply
        what = f"run all of {self.call.script.name}" if self.call else f"use {self.command[0]}"
        return ReplyError(f"{reply} ({access.missing_right(f'{what} on {self.key!r}')})")

    @property
    def untaught(self) -> bool:
        """Whether the node did not know the script; the next try brings its text, and need not wait."""
        return (
            not self.done and isinstance(self.reply, ReplyError) and self.reply.code == "NOSCRIPT"
        )

    @property
    def lost(self) -> bool:
        """Whether the slot table may be to blame that this is not done."""
        return not (isinstance(self.reply, ReplyError) and self.reply.code in LOCAL)


def redirected(reply: ReplyError) -> Node:
    """Return the node that a MOVED or ASK answer points to, as it is announced; its host may be unknown (empty)."""
    host, _, port = str(reply).rsplit(" ", 1)[1].rpartition(":")
    return Node("" if host == "?" else host, int(port))
