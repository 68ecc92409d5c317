"""Makes the cluster's scheme known in the process that runs Celery's tests (``pytest -p plugin``)."""

from __future__ import annotations

from omx_tasks.broker.transport import register

register()
