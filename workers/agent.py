"""The agent: a Celery worker with the project's pool. ``python -m workers.agent --name agent1``.

The same as ``celery -A omx_tasks worker -n agent1@%h``; a supervisor or a container starts this one, whose
output is plain lines.
"""

from __future__ import annotations

import click

from omx_tasks.celery import app


@click.command()
@click.option("--name", default="agent", help="Name of the agent, unique among all.")
@click.option("--loglevel", default="INFO", help="DEBUG, INFO, WARNING or ERROR.")
def main(name: str, loglevel: str) -> None:
    """Run one agent until SIGTERM."""
    options = ["--without-gossip", "--without-mingle"]
    node = name if "@" in name else f"{name}@%h"
    app.worker_main(["worker", "-n", node, "-l", loglevel, *options])


if __name__ == "__main__":
    main()
