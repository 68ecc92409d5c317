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
from click.shell_completion import CompletionItem
from click_didyoumean import DYMGroup

from omx_tasks import settings
from omx_tasks.deploy.interrupts import Terminated
from omx_tasks.errors import OmxError, UnavailableError, UnconfirmedError, UsageError
from omx_tasks.logs import begin
from omx_tasks.logs.masking import mask

logger = logging.getLogger("omx")

#: Each command's module, and what it does as its own help says; in sections, in the order in which a newcomer needs
#: them. A module is imported when its command is used, so the help of all is there at once.
SECTIONS = {
    "First steps": {
        "demo": ("demo", "Run an example over three real MCP servers."),
        "run": ("run", "Run a graph and print its answer."),
        "up": ("system", "Start a system: a Redis Cluster, agents, and what they need."),
        "doctor": ("doctor", "Say what is wrong with this system, and what to do."),
        "down": ("system", "Stop the system; its data stays for the next `omx up`."),
    },
    "Graphs and servers": {
        "check": ("graphs", "Check a graph against its servers; nothing runs."),
        "plan": ("graphs", "Show what a graph compiles to: order, ranks, groups."),
        "tools": ("servers", "List what servers offer: tools, resources, prompts."),
        "call": ("servers", "Call one tool and print what it says."),
    },
    "Runs": {
        "runs": ("runs", "List runs, the newest first."),
        "status": ("runs", "Show a run as it is now."),
        "watch": ("runs", "Show each change of a run, and progress, until it is over."),
        "result": ("runs", "Wait for a run and print its operations."),
        "cancel": ("runs", "End a run: what waits is dropped, what runs is cut off."),
        "resume": ("resume", "Take up a run that did not succeed: do what is not done."),
    },
    "The system": {
        "agents": ("agents", "List the agents that are up, or show one."),
        "agent": ("agent", "Start and stop agents beside those of `omx up`."),
        "coordinators": ("coordinators", "List the coordinators that are up; one of them leads."),
        "queues": ("queues", "List the queues and what waits in them."),
        "turns": ("turns", "List which servers are written to now, by whom, and who waits."),
        "stats": ("stats", "Show how often things were done, and how long they took."),
        "flower": ("flower", "Show workers, tasks and queues in a browser, until Ctrl-C."),
        "cluster": ("cluster", "A Redis Cluster on this machine, by itself."),
    },
    "Events": {
        "publish": ("events", "Publish an event, and print its id when it is stored."),
        "events": ("events", "Show the last events, and with --follow those that come."),
        "handle": ("events", "Serve handlers of events until Ctrl-C."),
    },
    "More": {
        "bench": ("bench", "Measure the product on this machine."),
        "completion": ("completion", "Print what makes a shell complete `omx` at the Tab key."),
    },
}
COMMANDS = {name: module for section in SECTIONS.values() for name, (module, _) in section.items()}


class _Commands(DYMGroup):
    """The commands of the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: Any = getattr(import_module(f"omx_tasks.cli.{COMMANDS[cmd_name]}"), cmd_name)
        return command if isinstance(command, click.Command) else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Name the commands without their modules: that takes no time at the Tab key."""
        found = {name: said for section in SECTIONS.values() for name, (_, said) in section.items()}
        items = [
            CompletionItem(name, help=said)
            for name, said in found.items()
            if name.startswith(incomplete)
        ]
        return items or super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write a section after the other, in columns of one width."""
        widest = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(widest), help_) for name, (_, help_) in commands.items()]
                )


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="omx-tasks", prog_name="omx")
@click.pass_context
def cli(context: click.Context) -> None:
    """Run graphs of MCP operations, in parallel, on a Redis Cluster.

    `omx COMMAND --help` says more of each. `omx run GRAPH` needs no system to be up: it starts one for that run.
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
