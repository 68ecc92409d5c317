"""A worker process that is configured as the test says, and an app of the same configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from celery import Celery

from omx_tasks.broker.transport import register

HERE = Path(__file__).parent


class TaskWorker:
    """Started by ``with``; the log is read when something fails."""

    def __init__(self, url: str, log: Path, *, pool: str = "threads", **conf: Any) -> None:
        register()
        self.log, self._pool = log, pool
        self.queue = f"reach-{uuid.uuid4().hex[:12]}"
        self._conf = {
            "broker_url": url, "result_backend": url, "task_default_queue": self.queue,
            "broker_connection_retry_on_startup": True, **conf,
        }  # fmt: skip
        self.app = Celery("client", set_as_current=False)
        self.app.conf.update(self._conf)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TaskWorker:
        command = [
            sys.executable, "-m", "celery", "-A", "reach_app", "worker", "-P", self._pool, "-c", "2",
            "-n", f"{self.queue}@test", "-l", "info",
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=HERE, env=self.environ, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)
        self.close()

    def close(self) -> None:
        if self.app.backend.result_consumer is not None:
            self.app.backend.result_consumer.stop()
        self.app.backend.store.close()
        self.app.close()

    @property
    def environ(self) -> dict[str, str]:
        return os.environ | {"REACH_CONF": json.dumps(self._conf)}

    def task(self, name: str, *args: Any) -> Any:
        return self.app.signature(f"reach_app.{name}", args, app=self.app)

    def call(self, name: str, *args: Any) -> Any:
        try:
            return self.task(name, *args).delay().get(timeout=60)
        except TimeoutError as error:
            raise AssertionError(self.log.read_text()) from error
