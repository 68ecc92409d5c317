"""The shipped webhook: what a receiver gets, and what happens when it does not take it."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from omx_tasks.errors import ConfigurationError
from omx_tasks.events import webhook
from omx_tasks.events.bus import Bus
from omx_tasks.events.handlers import discover, handler_of, on
from omx_tasks.events.processor import Processor
from omx_tasks.events.types import Event, make
from omx_tasks.events.webhook import DeliveryError, send, signature
from omx_tasks.store.client import Store

Until = Callable[..., None]


class Receiver:
    """An HTTP server that answers what it is told to, and keeps what it got."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return None

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_a_receiver_can_check_who_sent_what(receiver: Receiver) -> None:
    event = make("p-1", "run.failed", {"run": "r", "name": "n"})
    send(event, receiver.url, "s3cret")
    ((headers, body),) = receiver.got
    assert Event.read(body) == event
    assert (headers["X-Omx-Event"], headers["X-Omx-Id"]) == ("run.failed", "p-1")
    expected = signature("s3cret", headers["X-Omx-Timestamp"], body)
    assert hmac.compare_digest(headers["X-Omx-Signature"], expected)
    assert signature("other", headers["X-Omx-Timestamp"], body) != expected


@pytest.mark.parametrize("answer", [302, 404, 500])
def test_what_is_not_taken_is_an_error(receiver: Receiver, answer: int) -> None:
    receiver.answers = [answer]
    with pytest.raises(DeliveryError, match=f"the receiver answered {answer}"):
        send(make("p-1", "order.paid"), receiver.url, None)
    assert len(receiver.got) == 1
    assert "X-Omx-Signature" not in receiver.got[0][0]


def test_a_receiver_that_is_not_there_is_an_error(receiver: Receiver) -> None:
    receiver.close()
    with pytest.raises(DeliveryError, match="the receiver was not reached"):
        send(make("p-1", "order.paid"), receiver.url, None)


def test_only_http_is_spoken() -> None:
    with pytest.raises(ConfigurationError, match="must begin with http"):
        send(make("p-1", "order.paid"), "file:///etc/passwd", None)


def test_it_is_found_as_a_handler() -> None:
    (handler,) = discover("omx_tasks.events.webhook")
    assert handler is handler_of(webhook.webhook)
    assert "operation.failed" in handler.patterns


def test_an_event_is_sent_again_until_it_is_taken(
    receiver: Receiver, cluster_url: str, store: Store, word: str, until: Until
) -> None:
    @on(f"{word}.*", begins="oldest", name=word, backoff=0.02)
    def tell(event: Event) -> None:
        send(event, receiver.url, "s3cret")

    receiver.answers = [503, 500]
    handler = handler_of(tell)
    assert handler is not None
    bus = Bus(lambda: Store(cluster_url))
    event_id = bus.publish(f"{word}.done", {"n": 1})
    bus.close()
    processor = Processor(store, [handler]).start()
    until(lambda: len(receiver.got) == 3)
    assert processor.stop()
    assert {json.loads(body)["id"] for _, body in receiver.got} == {event_id}
