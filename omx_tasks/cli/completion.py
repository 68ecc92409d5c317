"""``omx completion``: what a shell needs to complete commands, options and files."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from omx_tasks.errors import UsageError

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print what makes a shell complete `omx` at the Tab key.

    Without a name it is for the shell in SHELL. Once for all times:

    \b
    bash  echo 'eval "$(omx completion bash)"' >> ~/.bashrc
    zsh   echo 'eval "$(omx completion zsh)"' >> ~/.zshrc
    fish  omx completion fish > ~/.config/fish/completions/omx.fish
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    made = get_completion_class(name) if name in SHELLS else None
    if made is None:
        raise UsageError(f"name the shell: one of {', '.join(SHELLS)}")
    click.echo(made(context.find_root().command, {}, "omx", "_OMX_COMPLETE").source())
