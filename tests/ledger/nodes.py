"""pytest-celery without containers: a process of this machine stands in for each.

pytest-celery's nodes ask their container only for what `ProcessContainer` and `ClusterContainer` have.
"""

from __future__ import annotations

import signal

from pytest_celery import CeleryTestWorker  # type: ignore[import-untyped]

from omx_tasks.bench.worker import Worker
from omx_tasks.cluster.embedded import EmbeddedCluster

#: Seconds for a warm shutdown; Celery's prefork pool may wait half a minute for a child that waits for it.
GRACE = 5.0


class ProcessContainer:
    """A Celery worker process in the place of a container."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.name = worker.name
        self.ended_warmly = True

    @property
    def id(self) -> str:
        return str(self.worker.pid)

    @property
    def status(self) -> str:
        return "running" if self.worker.alive else "exited"

    @property
    def celeryconfig(self) -> dict[str, str]:
        return {}

    def reload(self) -> None:
        """Nothing to do: a process has no copy of its state."""

    def ready(self) -> bool:
        self.worker.wait_until_ready()
        return True

    def logs(self) -> str:
        return self.worker.output().decode(errors="replace")

    def kill(self, signal: str | int = signal.SIGKILL) -> None:  # pytest-celery's name
        """As with a container, a SIGKILL takes all processes; any other signal goes to the first."""
        if str(signal) in ("SIGKILL", "9"):
            self.worker.kill()
        else:
            self.worker.terminate()

    def restart(self, timeout: float) -> None:
        """Stop what runs, at the latest after ``timeout`` seconds, and start again."""
        self.worker.terminate()
        self.ended_warmly = self.worker.wait_until_ended(min(timeout, GRACE))
        self.worker.kill()
        self.worker.start()

    def teardown(self) -> None:
        self.worker.stop()


class ClusterContainer:
    """The embedded cluster in the place of a container; whoever made it ends it."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self._cluster = cluster
        self.id = self.name = str(cluster.directory)

    @property
    def status(self) -> str:
        return "running" if self.ready() else "exited"

    @property
    def celeryconfig(self) -> dict[str, str]:
        return {"url": self._cluster.url(), "host_url": self._cluster.url()}

    def ready(self) -> bool:
        return self._cluster.is_ready()

    def logs(self) -> str:
        return ""

    def teardown(self) -> None:
        """Leave the cluster to whoever made it."""


class WorkerNode(CeleryTestWorker):
    """A worker that a storm may strike."""

    def is_ready(self) -> bool:
        return bool(self.container.worker.is_ready())

    def crash(self) -> None:
        self.kill()
        self.restart()

    def drain(self) -> bool:
        self.restart(force=True)
        return bool(self.container.ended_warmly)
