"""What Flower needs to know of the cluster: its queues, a page with all of a queue, columns that tell tasks apart.

Flower chooses how it asks for queues by the scheme of the broker's address, and knows none of a cluster; its page has
no columns for priorities, delayed and dead messages; and of a task it lists the name, which all operations share.
`install` gives it what is missing, in the process that is Flower and in no other. All else of it works as it is:
workers tell of themselves and are controlled by Celery's own broadcasts, and send events of tasks from when a Flower
asks them to, which it does every few seconds.

It listens on this machine alone, unless told otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flower import views
from flower.options import options
from tornado.template import Loader, Template
from tornado.web import HTTPError

from omx_tasks.broker import audit
from omx_tasks.broker.audit import QueueReport
from omx_tasks.errors import OmxError
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store

#: Our pages, each in place of Flower's of the same name.
PAGES = Path(__file__).with_name("pages")
#: What tells operations apart: the id is the run's and the operation's, the arguments name server and tool.
COLUMNS = "uuid,name,kwargs,state,received,runtime,worker"
ADDRESS = "127.0.0.1"
#: Seconds after which an agent that ended is listed no more: each that starts has a name of its own.
ENDED = 600
#: Seconds in which the cluster must answer whoever looks at a page.
ANSWER = 5.0


def install(url: Callable[[], str]) -> None:
    """Teach the Flower of this process of the cluster at ``url``; what its user chose stays."""
    source = Queues(url)
    views.Broker = lambda *_args, **_given: source
    views.BaseHandler.create_template_loader = lambda _handler, path: Pages(path)
    for name, ours in (
        ("tasks-columns", COLUMNS),
        ("address", ADDRESS),
        ("purge-offline-workers", ENDED),
    ):
        option = options._options[name]
        if option.value() == option.default:
            option.set(ours)


class Queues:
    """The queues as Flower asks for them, from any thread; the client is made when it is first needed."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._store: Store | None = None

    async def queues(self, _names: Iterable[str]) -> list[dict[str, Any]]:
        """Return all queues but Celery's own for remote control: also those that no worker consumes."""
        try:
            found = await asyncio.to_thread(self._reports)
        except OmxError as error:
            raise HTTPError(503, "%s", error) from error
        return [_row(report) for report in found if not report.is_internal]

    def _reports(self) -> list[QueueReport]:
        if self._store is None:
            self._store = Store(self._url(), timeout=ANSWER)
        return audit.reports(self._store)


class Pages(Loader):
    """Loads Flower's pages, and ours in place of some."""

    def _create_template(self, name: str) -> Template:
        ours = PAGES / name
        if ours.is_file():
            return Template(ours.read_bytes(), name=name, loader=self)
        return super()._create_template(name)


def _row(report: QueueReport) -> dict[str, Any]:
    """Return a queue by the names that Flower's API has for these things, and by ours for what it does not know."""
    stats = report.stats
    ready = sum(stats.waiting)
    return {
        "name": report.name,
        "messages": ready + stats.leased,
        "messages_ready": ready,
        "messages_unacknowledged": stats.leased,
        "consumers": report.consumers,
        "waiting": {each.name: stats.waiting[each] for each in Priority},
        "delayed": stats.delayed,
        "dead": stats.dead,
        "oldest": report.oldest,
    }
