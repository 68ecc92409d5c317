"""``omx``: the command line. One file per group of commands; this one maps errors to exit codes.

0: done. 1: a run failed or was cancelled, or may have been queued. 2: what was asked for is wrong, or the system is not
there; nothing was queued.
Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import logging
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import Any

import click
from click_didyoumean import DYMGroup

from omx_tasks import settings
from omx_tasks.deploy.interrupts import Terminated
from omx_tasks.errors import OmxError, UnavailableError, UnconfirmedError, UsageError
from omx_tasks.logs import begin
from omx_tasks.logs.masking import mask

logger = logging.getLogger("omx")

#: Each command and its module, in the order in which a newcomer needs them. A module is imported when its
#: command is used.
COMMANDS = {
    "demo": "demo",
    "up": "system",
    "down": "system",
    "run": "run",
    "check": "graphs",
    "plan": "graphs",
    "status": "runs",
    "watch": "runs",
    "result": "runs",
    "runs": "runs",
    "cancel": "runs",
    "resume": "resume",
    "tools": "servers",
    "call": "servers",
    "doctor": "doctor",
    "agents": "agents",
    "agent": "agent",
    "coordinators": "coordinators",
    "queues": "queues",
    "turns": "turns",
    "publish": "events",
    "events": "events",
    "handle": "events",
    "stats": "stats",
    "flower": "flower",
    "cluster": "cluster",
    "bench": "bench",
}


class _Commands(DYMGroup):
    """The commands of the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: Any = getattr(import_module(f"omx_tasks.cli.{COMMANDS[cmd_name]}"), cmd_name)
        return command if isinstance(command, click.Command) else None


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="omx-tasks", prog_name="omx")
@click.pass_context
def cli(context: click.Context) -> None:
    """Run graphs of MCP operations, in parallel, on a Redis Cluster.

    \b
    omx demo                 see it work
    omx up --detach          start a system on this machine
    omx run graph.yaml       run a graph (starts a system for this run when none is up)
    omx down                 stop it
    """
    settings.current()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """Run ``omx`` and exit with the code that says how it went."""
    signal.signal(signal.SIGTERM, _interrupt)
    begin.begin("omx", usual="WARNING", text="%(message)s")
    if begin.is_json():
        _speak_in_lines()
    try:
        cli.main(prog_name="omx", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        if begin.is_json():
            logger.error("%s", error.format_message())
        else:
            error.show()
        sys.exit(error.exit_code)
    except UnconfirmedError as error:
        _complain(error, 1)
    except (UsageError, UnavailableError) as error:
        _complain(error, 2)
    except OmxError as error:
        _complain(error, 1)
    except (KeyboardInterrupt, click.Abort):
        # All is cleaned up; another Ctrl-C now must not take the exit code away.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _say("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End on SIGTERM as on Ctrl-C: whatever was started is stopped on the way out."""
    raise Terminated


def _complain(error: OmxError, code: int) -> None:
    _say(str(error))
    sys.exit(code)


def _say(wrong: str) -> None:
    if begin.is_json():
        logger.error("%s", wrong)
    else:
        click.echo(f"omx: {mask(wrong)}", err=True)


def _speak_in_lines() -> None:
    """Have notices be lines of the log, too."""
    from omx_tasks.cli.output import notices
    from omx_tasks.logs.lines import Lines

    logger.setLevel(logging.INFO)
    notices.file = Lines(logger)


if __name__ == "__main__":
    main()
