"""A small HTTP door of a process: ``/healthz``, ``/readyz`` and, where it has some, ``/metrics``.

``/healthz`` says that the process answers at all: who gets no answer restarts it. ``/readyz`` says whether it can do
its work now, 503 and the reason where not: who gets that sends its work elsewhere, and restarts nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.registry import Collector, CollectorRegistry

from omx_tasks.errors import ConfigurationError, OmxError

#: What makes sure that the process can work; raises `OmxError` with the reason where not.
Ready = Callable[[], object]
_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_TEXT = [("Content-Type", "text/plain; charset=utf-8")]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """Probes come every few seconds; they are no news."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the one overridden
        """Write nothing."""


class Endpoint:
    """Serves until `stop`; ``port`` 0 takes a free one. Raises `ConfigurationError` where the port is taken."""

    def __init__(
        self, host: str, port: int, ready: Ready, collectors: Iterable[Collector] = ()
    ) -> None:
        self._ready = ready
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(collector)
        self._metrics: _App = make_wsgi_app(self._registry)
        try:
            self._server = make_server(host, port, self._answer, _Server, _Quiet)
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self.url = f"http://{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def __repr__(self) -> str:
        return f"<Endpoint {self.url}>"

    def start(self) -> Endpoint:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            return self._metrics(environ, start)
        status, text = self._said(path)
        start(status, list(_TEXT))  # it adds to the list
        return [f"{text}\n".encode()]

    def _said(self, path: str) -> tuple[str, str]:
        if path == "/healthz":
            return "200 OK", "ok"
        if path == "/readyz":
            try:
                self._ready()
            except OmxError as error:
                return "503 Service Unavailable", str(error)
            return "200 OK", "ready"
        return "404 Not Found", "there are /healthz, /readyz and /metrics"
