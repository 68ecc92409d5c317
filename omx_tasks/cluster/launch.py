"""Start a server process, either bound to this process or on its own."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omx_tasks.cluster import bound as bound_script
from omx_tasks.errors import ClusterError


@dataclass
class Launched:
    """A process that this one started; ``ended`` is set when it is over.

    ``status`` is how then, as in ``subprocess``: negative for a signal; None where that is not known.
    """

    pid: int
    ended: threading.Event
    status: int | None = None

    def ended_as(self, status: int) -> None:
        """Note its end."""
        self.status = status
        self.ended.set()


def launch(
    command: list[str], output: Path, *, bound: bool, environ: Mapping[str, str] | None = None
) -> Launched:
    """Start ``command`` with its output appended to the file ``output``; ``environ`` replaces ours.

    With ``bound`` the process is killed when this process dies, however it dies (on Linux;
    elsewhere it stays until it is stopped). Without it the process has a session of its own and
    outlives its starter. In neither case does it get the terminal's Ctrl-C.

    A thread per process waits for its end, so that none stays as a zombie. The same thread starts
    the process, because the kernel counts the end of the *thread* that started it as the parent's.

    Raises ClusterError where the program cannot be started.
    """
    if bound:
        command = bound_command(command)
    answers: queue.SimpleQueue[Launched | OSError] = queue.SimpleQueue()
    threading.Thread(
        target=_keep, args=(command, output, bound, environ, answers), name="omx-node", daemon=True
    ).start()
    answer = answers.get()
    if isinstance(answer, OSError):
        raise ClusterError(f"cannot start {command[0]}: {answer}") from answer
    return answer


def bound_command(command: list[str]) -> list[str]:
    """Return the command of a process that dies with the thread that starts it (on Linux)."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", bound_script.__file__, str(os.getpid()), *command]


def _keep(
    command: list[str],
    output: Path,
    bound: bool,
    environ: Mapping[str, str] | None,
    answers: queue.SimpleQueue[Launched | OSError],
) -> None:
    """Start the process, answer with its id, and wait for its end."""
    try:
        with output.open("ab") as stream:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=None if environ is None else dict(environ),
                start_new_session=not bound,
                process_group=0 if bound else None,
            )
    except OSError as error:
        answers.put(error)
        return
    launched = Launched(process.pid, threading.Event())
    answers.put(launched)
    launched.ended_as(process.wait())
