"""``omx handle`` as a user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

SHOP = """
from omx_tasks import on

@on("order.*")
def paid(event):
    pass
"""


def test_handlers_of_the_folder_are_found(cluster_url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    command = [str(Path(sys.executable).with_name("omx")), "handle", "shop"]
    environ = {**os.environ, "OMX_BROKER_URL": cluster_url}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    # A cluster that was made this second may say first that its replicas have confirmed nothing yet.
    assert any(line == "serving shop.paid\n" for line in process.stderr)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
