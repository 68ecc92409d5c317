"""Options that several of the programs have."""

from __future__ import annotations

import click

from omx_tasks.settings import LogLevel

loglevel_option = click.option(
    "--loglevel",
    type=click.Choice([*LogLevel], case_sensitive=False),
    help="From which level on it logs.  [default: OMX_LOG_LEVEL, else INFO]",
)
