"""What runs in the background: a supervisor in a session of its own, waited for until everything is warm."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from omx_tasks.agents.registry import agents
from omx_tasks.errors import ConfigurationError, UnavailableError
from omx_tasks.home import Home, System
from omx_tasks.store.client import Store

#: Seconds in which a system must be ready, and in which one that was interrupted must have stopped.
READY, STOP = 150.0, 30.0
POLL = 0.05
#: How `omx up` begins to say where the system is, once all is ready.
GREETING = "ready: "
_OURS = "omx: "


def start(
    home: Home, options: Sequence[object], environ: Mapping[str, str], say: Callable[[str], None]
) -> System:
    """Start a system that outlives this process, with these options of `omx up`; return when it is ready.

    ``say`` is told the steps that it tells of.
    """
    home.claim()
    home.release()
    log = home.logs / "up.log"
    with _supervisor(["up", *options], environ, log) as supervisor:
        return _wait_until_ready(home, supervisor, log, say)


def start_agents(
    store: Store, words: Sequence[object], environ: Mapping[str, str], log: Path, count: int
) -> int:
    """Start a nursery that outlives this process; return its process id when so many agents are warm."""
    with _supervisor(["agent", "start", *words], environ, log) as supervisor:
        _wait_until_warm(store, supervisor, log, count)
        return supervisor.pid


@contextlib.contextmanager
def _supervisor(
    words: Sequence[object], environ: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command of ours that outlives this process; an error ends it, and it is waited for."""
    with log.open("wb") as stream:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "omx_tasks.cli.main", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=dict(environ),
            start_new_session=True,
        )
    try:
        yield supervisor
    except BaseException:
        supervisor.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.wait(STOP)
        raise


def _wait_until_warm(
    store: Store, supervisor: subprocess.Popen[bytes], log: Path, count: int
) -> None:
    place = f"@{socket.gethostname()}-{supervisor.pid}"
    deadline = time.monotonic() + READY
    while sum(record.name.endswith(place) for record in agents(store)) < count:
        if (code := supervisor.poll()) is not None:
            raise _reason(log, code)
        if time.monotonic() > deadline:
            raise UnavailableError(f"the agents were not warm in {READY:.0f} s; see {log}")
        time.sleep(POLL)


def _wait_until_ready(
    home: Home, supervisor: subprocess.Popen[bytes], log: Path, say: Callable[[str], None]
) -> System:
    deadline = time.monotonic() + READY
    with log.open(encoding="utf-8", errors="replace") as steps:
        while time.monotonic() < deadline:
            system = home.read()
            ready = system is not None and system.ready and system.pid == supervisor.pid
            for line in _whole_lines(steps):
                step, wrong = _said(line)
                if step.startswith(GREETING):  # whoever waits for it gives that itself
                    break
                if step and not wrong:  # what is wrong or doubtful: this process says that, too
                    say(step)
            if system is not None and ready:
                return system
            if (code := supervisor.poll()) is not None:
                raise _reason(log, code)
            time.sleep(POLL)
    raise UnavailableError(f"the system was not ready in {READY:.0f} s; see {log}")


def _whole_lines(stream: TextIO) -> Iterator[str]:
    """Yield the lines that have come, and leave one that is being written for later."""
    while True:
        place = stream.tell()
        line = stream.readline()
        if not line.endswith("\n"):
            stream.seek(place)
            return
        yield line.rstrip()


def _said(line: str) -> tuple[str, bool]:
    """Return what a line of a supervisor's says, as text or as JSON, and whether that is wrong or doubtful."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return line.removeprefix(_OURS), line.startswith(_OURS)
    ours = isinstance(record, dict) and record.get("logger") == "omx"
    return (str(record["message"]), record["level"] != "INFO") if ours else ("", False)


def _reason(log: Path, code: int) -> Exception:
    """Return the supervisor's own error as one of this process, or what it wrote last."""
    text = log.read_text("utf-8", errors="replace").strip()
    _, found, message = f"\n{text}".rpartition(f"\n{_OURS}")
    wrong = bool(found)
    if not wrong:
        message, wrong = _said(text.rpartition("\n")[2])
    if wrong and code == 2:
        return ConfigurationError(message.strip())
    return UnavailableError(f"it did not come up; {log} ends:\n{text[-2000:]}")
