"""The rehearsal of an agent's beginning leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, threading
from celery import signals
from celery.app.log import Logging
from kombu.asynchronous import get_event_loop
heard = []
hear = lambda **_: heard.append("worker_init")
signals.worker_init.connect(hear)
from workers.rehearsal import rehearse
before = sorted(os.listdir("/dev/fd"))
rehearse()
assert heard == []
assert signals.worker_init.receivers
assert threading.enumerate() == [threading.main_thread()]
assert sorted(os.listdir("/dev/fd")) == before
assert get_event_loop() is None
assert not Logging._setup
"""


def test_no_thread_no_connection_and_nothing_told_is_left(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"any": {"command": "true"}}}))
    url = "rediscluster://127.0.0.1:1"
    environ = {**os.environ, "OMX_BROKER_URL": url, "OMX_MCP_CONFIG": str(path)}
    program = [sys.executable, "-W", "error", "-c", PROGRAM]
    told = subprocess.run(
        program, env=environ, timeout=60, capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")
