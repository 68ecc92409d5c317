"""The coordinator: looks after runs that lost a step. ``python -m workers.coordinator``.

Several may run; each does the same harmless work. Runs go on without any: it only repairs, and takes runs that are no
longer kept out of the list.
"""

from __future__ import annotations

import logging
import signal
import threading

import click

from omx_tasks import settings
from omx_tasks.errors import OmxError
from omx_tasks.runs.advance import plans
from omx_tasks.runs.listing import forget
from omx_tasks.runs.reconcile import reconcile
from omx_tasks.store.in_use import make_store

logger = logging.getLogger("omx.coordinator")

#: Seconds between two looks.
EVERY = 2.0


@click.command()
@click.option("--loglevel", default="INFO", help="DEBUG, INFO, WARNING or ERROR.")
def main(loglevel: str) -> None:
    """Run until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=loglevel, format="%(asctime)s %(levelname)s %(message)s")
    stopping = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stopping.set())
    store = make_store()
    read_plan = plans(store)
    logger.info("looking after the runs of %s every %s s", store.address, EVERY)
    while not stopping.wait(EVERY):
        try:
            found = reconcile(store, read_plan, age=settings.current().overdue)
            forget(store)
        except OmxError as error:
            logger.warning("the cluster could not be asked: %s", error)
        except Exception:  # one odd run must not end the looking after all others
            logger.exception("a look at the runs failed")
        else:
            if found.published:
                logger.info("looked after %d overdue operations", found.published)
            if found.given_up:
                logger.warning("gave up %d operations that no agent could do", found.given_up)
    store.close()


if __name__ == "__main__":
    main()
