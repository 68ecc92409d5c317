from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Connection

from omx_tasks.broker.transport import register

Connect = Callable[..., Any]


@pytest.fixture
def connect(cluster_url: str) -> Iterator[Connect]:
    """Make connections that are closed after the test; keyword arguments are transport options."""
    register()
    made: list[Any] = []

    def connect(**options: Any) -> Any:
        connection = Connection(cluster_url, transport_options=options)
        connection.connect()
        made.append(connection)
        return connection

    yield connect
    for connection in made:
        connection.release()
