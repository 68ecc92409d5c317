"""Flower as its users start it, and what they ask of it."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from omx_tasks.cluster.ports import reserved_ports

OMX = Path(sys.executable).with_name("omx")
USER = "ann:hard word"


class FlowerProcess:
    """``omx flower`` on a free port, for whoever knows `USER`."""

    def __init__(self, url: str, log: Path) -> None:
        self.log, self._reserved = log, ExitStack()
        (self.port,) = self._reserved.enter_context(reserved_ports(1))
        environ = {**os.environ, "OMX_BROKER_URL": url, "FLOWER_BASIC_AUTH": USER}
        with log.open("wb") as out:
            command = [str(OMX), "flower", "--port", str(self.port)]
            self.process = subprocess.Popen(command, env=environ, stdout=out, stderr=out)

    def open(self, path: str, *, method: str = "GET", user: str = USER, **query: Any) -> str:
        """Return an answer's text; raises `urllib.error.HTTPError`."""
        url = f"http://127.0.0.1:{self.port}{path}" + (f"?{urlencode(query)}" if query else "")
        basic = base64.b64encode(user.encode()).decode()
        request = urllib.request.Request(
            url, method=method, headers={"Authorization": f"Basic {basic}"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            text: str = answer.read().decode()
        return text

    def get(self, path: str, **query: Any) -> Any:
        return json.loads(self.open(path, **query))

    def order(self, path: str, **query: Any) -> Any:
        return json.loads(self.open(path, method="POST", **query))

    def page(self, path: str) -> str:
        """Return the address of a page for a browser, with the user in it."""
        name, word = USER.split(":")
        return f"http://{name}:{quote(word)}@127.0.0.1:{self.port}{path}"

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return bool(self.open("/healthcheck"))
        except urllib.error.URLError:
            return False

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._reserved.close()
