"""Makes the cluster's scheme known in every Python that has this folder on its path: Celery's tests start programs."""

from __future__ import annotations

from omx_tasks.broker.transport import register

register()
