"""The forking side of the fork server: reads what is to be forked, and tells what became of it.

::

    {"prepare": environ} ──► the environment is that of all children from now on, and `prepare` is called
    {"fork": …} ──► fork ──► {"forked": pid}           in the parent, which goes on reading
                      └────► `serve` returns the job   in the child, which becomes it
    SIGCHLD ──► wait ──► {"ended": pid, "status": …}
    end of input ──► all children are killed ──► `serve` returns None

One line of JSON each way. The parent has one thread, no loop and no socket, so that a child begins with nothing but
memory that it shares with all others. A child is bound to the parent: the kernel kills it when the parent dies, however
it dies (on Linux; elsewhere when the parent's input ends, but not when the parent is killed).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from omx_tasks.deploy.output import redirect

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
#: Signals that begin anew in a child; their handlers here are the parent's.
_RESET = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)
_READ = 65536


@dataclass(frozen=True)
class Job:
    """What a child is to become; its output is appended to the file ``log``."""

    name: str
    arguments: list[str]
    log: str


class Forking:
    """Serves one asker, over a pair of pipes; ``prepare`` does what all children would do at their beginning."""

    def __init__(self, asks: int, answers: int, prepare: Callable[[], None]) -> None:
        self._asks, self._answers, self._prepare = asks, answers, prepare
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._children: set[int] = set()
        self._rest = b""
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)

    def __repr__(self) -> str:
        return f"<Forking children={sorted(self._children)}>"

    def serve(self) -> Job | None:
        """Return in each child with what it is to become, and in the parent with None when nobody asks any more."""
        # A terminal's Ctrl-C and a `kill` of the whole group are for whoever asks: children end when they are told to.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._answer({"ready": os.getpid()})
        for line in self._lines():
            asked = json.loads(line)
            if "prepare" in asked:
                os.environ.clear()
                os.environ.update(asked["prepare"])
                self._prepare()
            elif self._fork(job := Job(**asked["fork"])):
                return job
        self._end()
        return None

    def _lines(self) -> Iterator[bytes]:
        """Yield what is asked, and tell meanwhile of children that ended."""
        while True:
            readable, _, _ = select.select([self._asks, self._woken], [], [])
            if self._woken in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, _READ)
                self._bury()
            if self._asks in readable:
                data = os.read(self._asks, _READ)
                if not data:
                    return
                *lines, self._rest = (self._rest + data).split(b"\n")
                yield from lines

    def _fork(self, job: Job) -> bool:
        """Whether this is the child."""
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._answer({"refused": job.name, "error": str(error)})
            return False
        if pid == 0:
            self._become(job, parent)
            return True
        with contextlib.suppress(OSError):  # as the child does: whoever comes first
            os.setpgid(pid, pid)
        self._children.add(pid)
        self._answer({"forked": job.name, "pid": pid})
        return False

    def _become(self, job: Job, parent: int) -> None:
        """Have nothing of the parent's but its memory."""
        signal.set_wakeup_fd(-1)
        for number in _RESET:
            signal.signal(
                number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            )
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        if self._libc is not None:
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            self._libc.prctl(_PR_SET_NAME, job.name.encode()[:15], 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)
        for end in (self._asks, self._answers, self._woken, self._wake):
            os.close(end)
        redirect(job.log, 0o644)
        gc.enable()

    def _bury(self) -> None:
        """Wait for what has ended, so that none stays as a zombie."""
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._children.discard(pid)
            self._answer({"ended": pid, "status": os.waitstatus_to_exitcode(status)})

    def _end(self) -> None:
        """Nobody asks any more: nothing of this stays."""
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in self._children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _answer(self, said: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._answers, json.dumps(said).encode() + b"\n")
