"""Requests that go to one node together, on one link, with what has to confirm them."""

from __future__ import annotations

from omx_tasks.store.confirmer import Confirmer
from omx_tasks.store.link import Command, Link, LinkError
from omx_tasks.store.requests import Request
from omx_tasks.store.topology import Topology


class Trip:
    """Sent when it is made; `collect` waits for the answers, `settle` tells them."""

    def __init__(self, link: Link, group: list[Request], confirmer: Confirmer) -> None:
        self._link, self._group, self._confirmer = link, group, confirmer
        self._commands = [command for request in group for command in request.commands()]
        self._asked: Command | None = None
        if confirmer.active and any(request.durable for request in group):
            self._asked = confirmer.command(link.node)
        asked = () if self._asked is None else (self._asked,)
        try:
            self._replies = link.send((*self._commands, *asked))
        except LinkError:
            for request in group:
                request.uncertain = True
            raise

    def collect(self, deadline: float) -> bool:
        """Wait for the answers; returns whether they are confirmed."""
        if self._asked is None:
            self._link.collect(self._replies, len(self._commands), deadline)
            return True
        self._link.collect(self._replies, len(self._commands) + 1, deadline)
        verdict = self._confirmer.judge(self._link.node, self._asked, self._replies[-1])
        return self._confirmer.pursue(self._link, verdict, deadline)

    @property
    def answered(self) -> bool:
        """Whether all that is missing is the confirmation."""
        return len(self._replies) >= len(self._commands)

    def settle(self, topology: Topology, confirmed: bool) -> None:
        """Tell each request the answer that it got."""
        answers = iter(self._replies)
        for request in self._group:
            got = [answer for _, answer in zip(request.commands(), answers, strict=False)]
            if len(got) == len(request.commands()):
                request.settle(got[-1], topology, confirmed=confirmed)
            else:
                request.uncertain = True
