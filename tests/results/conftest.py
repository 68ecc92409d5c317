from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from omx_tasks.broker.transport import register


@pytest.fixture
def app(cluster_url: str) -> Iterator[Any]:
    """An app whose backend is ours; nobody works for it."""
    register()
    app = Celery(f"app-{uuid.uuid4().hex}", broker=cluster_url, backend=cluster_url)
    yield app
    app.backend.result_consumer.stop()
    app.backend.store.close()
    app.close()


@pytest.fixture
def task_id() -> str:
    return str(uuid.uuid4())
