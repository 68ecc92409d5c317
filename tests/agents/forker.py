"""Runs modules as ``python -m`` does, each in a fork of this process, which has imported what agents need.

Only the import is saved. A line in is a JSON object (words, environ, out, code); a line out is the process id. Between
this process and the program stands one that waits for it, and writes how it ended into the file ``code``.
"""

import gc
import json
import os
import runpy
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import psutil

sys.path[0] = os.getcwd()  # noqa: PTH109 - as ``-m`` does
for module in ("celery.__main__", "celery.apps.worker", "celery.bin.celery", "omx_tasks.celery"):
    import_module(module)


def become(job: dict[str, Any]) -> NoReturn:
    """Be the program, and end as it ends."""
    os.environ.clear()
    os.environ.update(job["environ"])
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    out = os.open(job["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    for file, number in ((null, 0), (out, 1), (out, 2)):
        os.dup2(file, number)
    os.close(out)
    os.close(null)
    name, *words = job["words"]
    sys.argv = [name, *words]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    sys.exit(0)


def keep(job: dict[str, Any]) -> None:
    """Start the program, and wait for it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        become(job)
    print(pid, flush=True)
    code = Path(job["code"])
    written = code.with_suffix(".new")
    written.write_text(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    written.rename(code)
    os._exit(0)


signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
gc.freeze()
for line in sys.stdin:
    if os.fork() == 0:
        keep(json.loads(line))
for left in psutil.Process().children(recursive=True):
    with suppress(psutil.Error):
        left.kill()  # nothing outlives the tests, however they ended
