"""The agent: a Celery worker with the project's pool. ``python -m workers.agent --name agent1``.

The same as ``celery -A omx_tasks worker -n agent1@%h``; a supervisor or a container starts this one, whose
output is plain lines. Celery's own command line is left out: it imports all that is installed beside it, Flower too,
which costs each agent a second and a third of its memory.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click
from celery.utils.nodenames import default_nodename, host_format

from omx_tasks.celery import app
from omx_tasks.logs.begin import begin, level_set
from omx_tasks.logs.of_celery import PROCESS
from workers.options import loglevel_option


@click.command()
@click.option("--name", default="agent", help="Name of the agent, unique among all.")
@loglevel_option
def main(name: str, loglevel: str | None) -> None:
    """Run one agent until SIGTERM."""
    run(name, loglevel)


def run(name: str, loglevel: str | None = None) -> NoReturn:
    """Be the agent; where it runs in a fork, Celery has been made ready before (`prepare`)."""
    node = host_format(default_nodename(name if "@" in name else f"{name}@%h"))
    begin(PROCESS, loglevel, agent=node)
    worker = app.Worker(
        hostname=node,
        loglevel=(loglevel or level_set() or "INFO").upper(),
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


if __name__ == "__main__":
    main()
