"""Runs ``omx`` again and again, each time in a fork of this process, which has imported it: only that is saved.

A line in is a JSON object (words, folder, environ, out, err, seconds); a line out is the exit code.
"""

import json
import os
import signal
import sys
import tempfile
from importlib import import_module
from typing import Any

from omx_tasks.cli import main as cli

for module in {*cli.COMMANDS.values(), "direct"}:
    import_module(f"omx_tasks.cli.{module}")


def become_omx(job: dict[str, Any]) -> None:
    signal.alarm(job["seconds"])
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environ"])
    tempfile.tempdir = None
    for number, path in ((0, os.devnull), (1, job["out"]), (2, job["err"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["omx", *job["words"]]
    cli.main()


def run(job: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            become_omx(job)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            if not sys.stderr.closed:
                sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


for line in sys.stdin:
    print(run(json.loads(line)), flush=True)
