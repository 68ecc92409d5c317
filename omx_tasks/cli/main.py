"""``omx``: the command line. One file per group of commands; this one maps errors to exit codes.

0: done. 1: a run failed or was cancelled. 2: what was asked for is wrong, or the system is not there; nothing was queued.
Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

import click
from click_didyoumean import DYMGroup

from omx_tasks.cli.cluster import cluster
from omx_tasks.cli.demo import demo
from omx_tasks.cli.graphs import check, plan
from omx_tasks.cli.run import run
from omx_tasks.cli.runs import cancel, result, runs, status, watch
from omx_tasks.cli.servers import call, tools
from omx_tasks.cli.system import agents, down, up
from omx_tasks.errors import OmxError, UnavailableError, UsageError

COMMANDS = (
    up,
    down,
    run,
    check,
    plan,
    status,
    watch,
    result,
    runs,
    cancel,
    tools,
    call,
    agents,
    cluster,
    demo,
)


class _InOrder(DYMGroup):
    """Lists the commands in the order in which a newcomer needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="omx-tasks", prog_name="omx")
def cli() -> None:
    """Run graphs of MCP operations, in parallel, on a Redis Cluster.

    \b
    omx demo                 see it work
    omx up --detach          start a system on this machine
    omx run graph.yaml       run a graph (starts a system for this run when none is up)
    omx down                 stop it
    """


for _command in COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """Run ``omx`` and exit with the code that says how it went."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cli.main(prog_name="omx", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (UsageError, UnavailableError) as error:
        _complain(error, 2)
    except OmxError as error:
        _complain(error, 1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("omx: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End on SIGTERM as on Ctrl-C: whatever was started is stopped on the way out."""
    raise KeyboardInterrupt


def _complain(error: OmxError, code: int) -> None:
    click.echo(f"omx: {error}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
