"""A run that this command shows until it is over, and what Ctrl-C means meanwhile.

::

    Ctrl-C ──► a terminal to ask on? ──no──────────────────────► cancelled
                    └─yes─► cancel it? ──yes, or Ctrl-C again──► cancelled, and shown to its end
                                 ├─no──────────────────────────► shown again
                                 └─leave───────────────────────► it goes on by itself; `omx watch` shows it

SIGTERM cancels without a question. A system that is up for this run only cannot be left.
"""

from __future__ import annotations

import sys

from omx_tasks.api import Run
from omx_tasks.cli.output import complain, duration, say
from omx_tasks.cli.present import shared, why
from omx_tasks.cli.progress import Calls, progress_of, show_all
from omx_tasks.deploy.interrupts import Terminated, ignored, wait_for_line
from omx_tasks.errors import UnavailableError
from omx_tasks.runs.view import RunView

#: Seconds in which the calls of a cancelled run are ended.
SETTLE = 5.0


def followed(
    run: Run,
    calls: Calls,
    *,
    generation: int = 0,
    may_leave: bool = True,
    interrupted: KeyboardInterrupt | None = None,
) -> RunView | None:
    """Show a run until it is over and return it; None where it was left to itself.

    ``interrupted`` is a Ctrl-C that came before this.
    """
    try:
        wish = "watch" if interrupted is None else _wish(interrupted, run, may_leave)
        return _followed(run, calls, wish, generation, may_leave)
    except UnavailableError as error:
        # It was queued, and nobody knows how it goes on: the code of a run that did not succeed.
        complain(str(error))
        sys.exit(1)


def _followed(
    run: Run, calls: Calls, wish: str, generation: int, may_leave: bool
) -> RunView | None:
    while wish == "watch":
        try:
            show_all(progress_of(calls), run.changes(generation=generation))
            break
        except KeyboardInterrupt as interrupt:
            wish = _wish(interrupt, run, may_leave)
    if wish == "leave":
        say(f"run {run.id} goes on: `omx watch {run.id}`")
        return None
    if wish == "cancel":
        with ignored():
            run.cancel(SETTLE)
    view = run.status()
    say(f"run {run.id} {view.state} in {duration(view.seconds)}{shared(view)}{why(view)}")
    return view


def _wish(interrupt: KeyboardInterrupt, run: Run, may_leave: bool) -> str:
    """Return what is to become of the run; ask, where there is somebody to ask."""
    if isinstance(interrupt, Terminated) or not sys.stdin.isatty():
        return "cancel"
    choices = {"y": "cancel", "n": "watch"} | ({"l": "leave"} if may_leave else {})
    leave = ", l: leave it running" if may_leave else ""
    question = f"cancel run {run.id}? (y or Ctrl-C: cancel, n: go on{leave})"
    while True:
        say(question, end=" ")
        try:
            wait_for_line(sys.stdin)
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            return "cancel"
        answer = line.strip().lower() or "y"  # the end of the input is a yes as well
        if answer in choices:
            return choices[answer]
