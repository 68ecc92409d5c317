"""Programs in forks of one process, which is started by the first of them and ends with this one."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

FORKER = Path(__file__).with_name("forker.py")
PAUSE = 0.01
#: One at a time asks and is answered: tests start agents from several threads.
_ASKING = threading.Lock()


@cache
def _forker() -> subprocess.Popen[str]:
    forker = subprocess.Popen(
        [sys.executable, FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(forker.__exit__, None, None, None)
    return forker


class Forked:
    """What ``python -m WORDS…`` would be; its methods are those of ``subprocess.Popen``."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str], out: Path) -> None:
        self._code = out.with_suffix(f".code-{time.monotonic_ns()}")
        job = {"words": words, "environ": {**environ}, "out": str(out), "code": str(self._code)}
        with _ASKING:
            forker = _forker()
            assert forker.stdin is not None
            assert forker.stdout is not None
            forker.stdin.write(json.dumps(job) + "\n")
            forker.stdin.flush()
            self.pid = int(forker.stdout.readline())
        self._words = words

    def poll(self) -> int | None:
        with contextlib.suppress(FileNotFoundError):
            return int(self._code.read_text())
        return None

    def wait(self, timeout: float) -> int:
        deadline, pause = time.monotonic() + timeout, threading.Event()
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self._words, timeout)
            pause.wait(PAUSE)
        return code

    def send_signal(self, sign: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sign)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
