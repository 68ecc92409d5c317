"""A rehearsal of an agent's beginning, in the process that agents are forks of.

What is made when something is done for the first time is then in memory once, for all agents: what Python found in
which class, code that it made ready for its next calls, regular expressions, the templates, the name of the platform.
A fork that did it by itself would write to the pages of all of that: 1.4 MiB of the 22 that an agent had to itself.

Nothing is started, and nothing is left: no thread, no connection, no poller. A Celery worker is made as an agent makes
it, unheard by those who listen to Celery's signals, and thrown away.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from celery import signals
from celery.app.log import Logging
from kombu.asynchronous import set_event_loop

from omx_tasks import settings
from omx_tasks.agents import profile
from omx_tasks.celery import app, server_file

NODE = "rehearsal@localhost"
#: What Celery tells while a worker is made.
_TOLD = (signals.celeryd_init, signals.worker_init)
#: What is asked of values of these types again and again; the first time, all kinds of mappings are looked through.
_NO_MAPPINGS = (int, list, str, tuple, type(None))


def rehearse() -> None:
    """Do what an agent does at its beginning, as far as that can be done without anybody else."""
    with _unheard():
        worker = app.Worker(hostname=NODE, without_gossip=True, without_mingle=True)
    worker.startup_info()
    worker.extra_info()
    worker.hub.close()
    set_event_loop(None)
    profile.of_settings(settings.current(), server_file())
    for kind in _NO_MAPPINGS:
        issubclass(kind, Mapping)


@contextmanager
def _unheard() -> Iterator[None]:
    """Let nobody hear inside the block that a worker begins, neither by signals nor by warnings nor in its log."""
    heard = [(one, one.receivers) for one in _TOLD]
    for one in _TOLD:
        one.receivers = []
    Logging._setup = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Logging._setup = False
        for one, receivers in heard:
            one.receivers = receivers
