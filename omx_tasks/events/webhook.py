"""A handler that tells others: an HTTP POST for each event that matches, signed, and sent again until it is taken.

``OMX_HANDLERS=omx_tasks.events.webhook`` serves it; ``OMX_WEBHOOK_URL`` says where to, ``OMX_WEBHOOK_SECRET`` signs.
The body is the event as JSON. Its headers:

- ``X-Omx-Event``: the type; ``X-Omx-Id``: the event's id, the same on each try, by which a receiver knows repetitions
- ``X-Omx-Timestamp``: Unix seconds of this try
- ``X-Omx-Signature``: ``sha256=`` and the HMAC-SHA256, in hex, of timestamp, a dot and the body, with the secret as key

An answer of 2xx is success. Anything else, or none within `TIMEOUT` seconds, is tried again, later and later for about
half an hour; then the event is parked. What a receiver refuses for good (4xx but 408, 425 and 429) is no better the
next time, but a receiver can be mended meanwhile: it is tried again like the rest.
"""

from __future__ import annotations

import hashlib
import hmac
import time
import urllib.error
import urllib.parse
import urllib.request

from omx_tasks import settings
from omx_tasks.errors import ConfigurationError, OmxError
from omx_tasks.events.handlers import on
from omx_tasks.events.types import Event

#: Seconds that a receiver has to answer.
TIMEOUT = 10.0
#: Deliveries in all: with waits of 1, 2, 4 … 300 s this is about half an hour.
DELIVERIES = 14


class DeliveryError(OmxError):
    """A receiver did not take an event."""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what ``X-Omx-Signature`` says; a receiver compares with `hmac.compare_digest`."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def request_of(event: Event, url: str, secret: str | None) -> urllib.request.Request:
    """Return the request that tells of an event."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ConfigurationError("OMX_WEBHOOK_URL must begin with http:// or https://")
    body, timestamp = event.text().encode(), str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "X-Omx-Event": event.type,
        "X-Omx-Id": event.id,
        "X-Omx-Timestamp": timestamp,
    }
    if secret:
        headers["X-Omx-Signature"] = signature(secret, timestamp, body)
    return urllib.request.Request(url, body, headers, method="POST")  # noqa: S310  the scheme was checked


def send(event: Event, url: str, secret: str | None) -> None:
    """Tell one receiver of an event; raises `DeliveryError` where it did not take it."""
    opener = urllib.request.build_opener(_StayHere)
    try:
        with opener.open(request_of(event, url, secret), timeout=TIMEOUT):
            return
    except urllib.error.HTTPError as error:
        with error:
            raise DeliveryError(f"the receiver answered {error.code} {error.reason}") from error
    except OSError as error:
        raise DeliveryError(f"the receiver was not reached: {error}") from error


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: what is signed for one receiver is sent to no other."""

    def redirect_request(self, *_: object) -> None:
        return None


@on(
    "operation.failed",
    "operation.unknown",
    "run.*",
    "server.failed",
    "queue.dead",
    "cluster.*",
    "deploy.*",
    deliveries=DELIVERIES,
)
def webhook(event: Event) -> None:
    """Tell the receiver of ``OMX_WEBHOOK_URL`` of an event."""
    given = settings.current()
    if given.webhook_url is None:
        raise ConfigurationError("OMX_WEBHOOK_URL is not set: say where events are to be sent")
    secret = given.webhook_secret
    send(event, given.webhook_url, secret.get_secret_value() if secret else None)
