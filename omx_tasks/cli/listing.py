"""A group of commands that lists where none is named: ``omx queues dead``, ``omx queues dead QUEUE``."""

from __future__ import annotations

import click


class Listing(click.Group):
    """Takes words that are none of its commands for those of ``list``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in that was left out."""
        if ctx.resilient_parsing and not args:  # at the Tab key: what is there to choose from
            return super().parse_args(ctx, args)
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["list", *args]
        return super().parse_args(ctx, args)
