"""Whether what a container runs is well: exit code 0 or 1. ``python -m workers.health node PORT | agent | cluster``.

``node``: the node on this port answers, which takes no password. ``agent``: the agent of this host was heard lately.
``cluster``: the cluster can be reached from here.
"""

from __future__ import annotations

import socket
import sys

import click

from omx_tasks.errors import OmxError

SECONDS = 3.0


@click.group()
def main() -> None:
    """Say by the exit code whether something is well."""


@main.command()
@click.argument("port", type=int)
def node(port: int) -> None:
    """Ask the node on this port, as a user who may do nothing else."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as link:
        link.sendall(b"AUTH health -\r\nPING\r\n")
        answer = link.makefile("rb")
        answer.readline()
        _well(answer.readline().startswith((b"+PONG", b"-LOADING")), f"node {port} is not well")


@main.command()
@click.option("--name", default="agent", help="The name that the agent was given.")
def agent(name: str) -> None:
    """Look for the agent of this host among those that were heard."""
    from omx_tasks.agents.registry import agents
    from omx_tasks.store.in_use import make_store

    full = name if "@" in name else f"{name}@{socket.gethostname()}"
    heard = [record.name for record in agents(make_store())]
    _well(full in heard, f"{full} was not heard lately; there are: {', '.join(heard) or 'none'}")


@main.command()
def cluster() -> None:
    """Ask the cluster."""
    from omx_tasks.store.in_use import make_store

    make_store().ping(SECONDS)


def _well(is_so: bool, else_say: str) -> None:
    if not is_so:
        raise click.ClickException(else_say)


if __name__ == "__main__":
    try:
        main()
    except (OSError, OmxError) as error:
        sys.exit(str(error))
