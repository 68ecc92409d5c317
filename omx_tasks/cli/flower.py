"""``omx flower``: Flower on the system that is up here, or on the cluster that is configured."""

from __future__ import annotations

import os
import sys

import click

from omx_tasks.cli.target import existing_store
from omx_tasks.cluster.ports import free_or_other
from omx_tasks.errors import ConfigurationError


@click.command()
@click.option("--port", default=5555, show_default=True, type=click.IntRange(1, 65_535))
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on.")
def flower(port: int, address: str) -> None:
    """Show workers, tasks and queues in a browser, until Ctrl-C.

    What else Flower can do is chosen by its own variables: FLOWER_BASIC_AUTH=user:password asks for these,
    FLOWER_UNAUTHENTICATED_API=true opens its API where nobody has to.
    """
    existing_store().close()
    _check(address, port)
    command = [sys.executable, "-m", "celery", "-A", "omx_tasks", "flower"]
    options = [f"--address={address}", f"--port={port}"]
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *options])  # noqa: S606 - no shell is wanted


def _check(address: str, port: int) -> None:
    """Raise `ConfigurationError` unless one can listen there."""
    try:
        free = free_or_other(port, address) == port
    except OSError as error:
        raise ConfigurationError(f"--address {address}: {error.strerror or error}") from error
    if not free:
        raise ConfigurationError(f"port {port} of {address} is taken: choose another with --port")
