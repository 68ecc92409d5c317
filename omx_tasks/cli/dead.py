"""``omx queues dead``: messages that nobody could finish. Look at them, put them back, or drop them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import click

from omx_tasks.broker import audit
from omx_tasks.broker.audit import DeadMessage
from omx_tasks.cli.listing import Listing
from omx_tasks.cli.output import first_line, json_option, print_json, print_table, results, say
from omx_tasks.cli.target import existing_store
from omx_tasks.errors import NotFoundError, UsageError, did_you_mean
from omx_tasks.store.client import Store

#: Puts dead messages of a queue back, or drops them; returns how many.
Act = Callable[[Store, str, list[str]], int]

_queue_option = click.option("--queue", metavar="QUEUE", help="Only those of this queue.")
_ids_argument = click.argument("ids", nargs=-1, metavar="[ID]…")


@click.group(cls=Listing)
def dead() -> None:
    """Messages that nobody could finish: list [QUEUE], show, replay, drop."""


@dead.command("list")
@click.argument("queue", required=False)
@json_option
def list_dead(queue: str | None, as_json: bool) -> None:
    """List dead messages, of one queue or all.

    The longest dead come first.
    """
    found = list(_find(existing_store(), queue))
    if as_json:
        print_json([_as_json(message) for message in found])
    elif not found:
        say(f"nothing is dead in {queue}" if queue else "nothing is dead")
    else:
        titles = ("message", "queue", "died", "priority", "why", "task")
        print_table(titles, [_row(message) for message in found])


@dead.command()
@click.argument("message_id", metavar="ID")
@json_option
def show(message_id: str, as_json: bool) -> None:
    """Show one dead message with all that it carries."""
    (message,) = _chosen(existing_store(), None, (message_id,))
    if as_json:
        print_json(_as_json(message))
        return
    console = results()
    _, queue, died, priority, why, _ = _row(message)
    said = f"{queue}  {priority}  died {died}: {why}"
    console.print(said, markup=False, soft_wrap=True)
    text = json.dumps(_content(message), indent=2, ensure_ascii=False)
    console.print(text, markup=False, soft_wrap=True)


@dead.command()
@_ids_argument
@_queue_option
@json_option
def replay(ids: tuple[str, ...], queue: str | None, as_json: bool) -> None:
    """Put dead messages back to their places.

    Their deliveries are counted anew. Without an ID, with --queue: all of that queue.
    """
    _act(audit.replay, "put back", ids, queue, as_json)


@dead.command()
@_ids_argument
@_queue_option
@json_option
def drop(ids: tuple[str, ...], queue: str | None, as_json: bool) -> None:
    """Remove dead messages for good.

    Without an ID, with --queue: all of that queue.
    """
    _act(audit.drop, "dropped", ids, queue, as_json)


def _act(act: Act, done: str, ids: tuple[str, ...], queue: str | None, as_json: bool) -> None:
    if not ids and queue is None:
        raise UsageError(
            "name the messages (`omx queues dead` lists them), or say --queue for all of one queue"
        )
    store = existing_store()
    by_queue: dict[str, list[str]] = defaultdict(list)
    for message in _chosen(store, queue, ids):
        by_queue[message.queue].append(message.id)
    counts = {name: act(store, name, chosen) for name, chosen in by_queue.items()}
    if as_json:
        print_json(counts)
    elif not counts:
        say(f"nothing is dead in {queue}")
    for name, count in counts.items():
        say(f"{done}: {count} of {name}")


def _chosen(store: Store, queue: str | None, ids: tuple[str, ...]) -> list[DeadMessage]:
    """Return the dead messages that were named, or all there are; an unknown id is an error."""
    found = {message.id: message for message in _find(store, queue)}
    for name in ids:
        if name not in found:
            where = f" in {queue}" if queue else ""
            raise NotFoundError(f"no dead message {name!r}{where}: `omx queues dead` lists them")
    return [found[name] for name in ids] if ids else list(found.values())


def _find(store: Store, queue: str | None) -> Iterator[DeadMessage]:
    known = audit.names(store)
    if queue is not None and queue not in known:
        raise NotFoundError(
            f"no queue {queue!r}.{did_you_mean(queue, [*known, *dead.commands])} "
            "`omx queues` lists them"
        )
    for name in known if queue is None else [queue]:
        yield from audit.dead(store, name)


def _row(message: DeadMessage) -> tuple[str, ...]:
    died = datetime.fromtimestamp(message.died).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return (
        message.id,
        message.queue,
        died,
        message.priority.name,
        message.reason,
        _task(message),
    )


def _task(message: DeadMessage) -> str:
    """Return the task that a message names, with its arguments, as far as it is one of Celery's."""
    content = _content(message)
    headers = content.get("headers") if isinstance(content, dict) else None
    if not isinstance(headers, dict):
        return ""
    return first_line(f"{headers.get('task', '')}{headers.get('argsrepr', '')}")


def _content(message: DeadMessage) -> Any:
    text = message.body.decode(errors="replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _as_json(message: DeadMessage) -> dict[str, Any]:
    return {
        **message._asdict(),
        "priority": message.priority.name,
        "reason": message.reason,
        "body": _content(message),
    }
