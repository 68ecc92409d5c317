"""``omx publish``, ``omx events`` and ``omx handle``: say that something happened, see what did, act on it."""

from __future__ import annotations

import json
import signal
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from omx_tasks import settings
from omx_tasks.cli.event_handlers import dead, forget, handlers
from omx_tasks.cli.output import json_option, print_json, results, say
from omx_tasks.cli.target import existing_store
from omx_tasks.errors import ConfigurationError
from omx_tasks.events.bus import Draft
from omx_tasks.events.handlers import discover
from omx_tasks.events.now import publish_now
from omx_tasks.events.processor import Processor
from omx_tasks.events.types import Event, EventError
from omx_tasks.events.watch import Watch
from omx_tasks.priorities import Priority

_COLORS = {Priority.P0: "red", Priority.P1: "yellow", Priority.P2: "default", Priority.P3: "dim"}


@click.command()
@click.argument("type_", metavar="TYPE")
@click.option(
    "--priority", type=click.Choice([one.name for one in Priority]), help="Default: its type's."
)
@click.option("--key", metavar="KEY", help="Events of one key (and priority) are handled in order.")
@click.option("--data", metavar="JSON", help="An object: what there is to say.")
@json_option
def publish(
    type_: str, priority: str | None, key: str | None, data: str | None, as_json: bool
) -> None:
    """Publish an event, and print its id when it is stored.

    TYPE is one of the product's (`operation.failed`) or your own (`order.paid`).
    """
    content = None if data is None else _object(data)
    draft = Draft(type_, content, Priority[priority] if priority else None, key)
    (event_id,) = publish_now(existing_store(), settings.current(), [draft])
    if as_json:
        print_json({"id": event_id})
    else:
        results().print(event_id, markup=False)


def _object(text: str) -> Any:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise EventError(f"--data {text!r} is no JSON: {error}") from error
    return content


@click.group(invoke_without_command=True)
@click.option(
    "--type",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="`operation.failed`, `operation.*`; may be repeated.",
)
@click.option(
    "--last",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="So many that happened before.",
)
@click.option("--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One line with one object an event.")
@click.pass_context
def events(
    context: click.Context, patterns: tuple[str, ...], last: int, follow: bool, as_json: bool
) -> None:
    """Show the last events, and with --follow those that come.

    Or how their handlers stand, and what these have given up. A terminal shows of each what fits into its line; a
    pipe gets all.
    """
    if context.invoked_subcommand is not None:
        return
    given = settings.current()
    watch = Watch(existing_store(), patterns, partitions=given.events_partitions)
    before = watch.before(last)
    for event in before:
        _show(event, as_json)
    if not follow:
        if not before:
            say("no such event is kept")
        return
    for event in watch.follow():
        _show(event, as_json)


events.add_command(handlers)
events.add_command(dead)
events.add_command(forget)


def _show(event: Event, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(event.as_json(), ensure_ascii=False))
        return
    console = results()
    at = datetime.fromtimestamp(event.at)
    day = "" if at.date() == datetime.now().date() else at.strftime("%Y-%m-%d ")
    line = Text(f"{day}{at.strftime('%H:%M:%S.%f')[:-3]}  ")
    line.append(event.priority.name, _COLORS[event.priority])
    line.append(f"  {event.type}  ")
    told = _in_brief(event) if console.is_terminal else event.data
    said = json.dumps(told, ensure_ascii=False)
    line.append(f"{event.key}  " if event.key else "").append(said, "dim")
    if console.is_terminal:
        line.truncate(console.width, overflow="ellipsis")
    console.print(line, soft_wrap=True)


def _in_brief(event: Event) -> dict[str, Any]:
    """Return what an event says beside its key, what went wrong before all else."""
    said = {name: value for name, value in event.data.items() if value not in (None, event.key)}
    return {name: said[name] for name in sorted(said, key=lambda name: name != "error")}


@click.command()
@click.argument("modules", nargs=-1, metavar="[MODULE]…")
def handle(modules: tuple[str, ...]) -> None:
    """Serve handlers of events until Ctrl-C.

    Those of MODULE, or of OMX_HANDLERS (this folder's, too), and of what is installed. Several may run: they share
    the work, and one takes over what another one leaves.
    """
    given = settings.current()
    sys.path.insert(0, str(Path.cwd()))
    served = discover(",".join(modules) or given.handlers)
    if not served:
        raise ConfigurationError(
            "there are no handlers: name a MODULE with functions under @on(…), or set OMX_HANDLERS"
        )
    processor = Processor(existing_store(), served, partitions=given.events_partitions)
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    processor.start()
    say(f"serving {', '.join(sorted(handler.name for handler in served))}")
    over.wait()
    if not processor.stop():
        say("a handler is still busy; what it has in hand will come again")
