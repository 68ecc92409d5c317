"""The HTTP side of a session: whom it trusts, how much it reads, and what it was refused with.

Certificates are verified: against what the machine trusts, or the file that ``SSL_CERT_FILE`` names, and the server's
own ``omx.ca``. Headers and tokens go to the server's own origin only, since the SDK follows no redirect to another.
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2

from omx_tasks.errors import OperationError
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.flights import Flights
from omx_tasks.mcp.lines import TOO_LARGE
from omx_tasks.mcp.refusal import Refusal
from omx_tasks.mcp.tokens import Tokens

# Seconds to connect and send. Answers may take as long as the operation's own timeout allows.
HTTP_TIMEOUT = 30.0


class Web:
    """Makes the HTTP clients of one session and watches them; answers may have ``max_message`` bytes."""

    def __init__(self, config: ServerConfig, flights: Flights, max_message: int) -> None:
        self.max_message = max_message
        #: The last refusal, until something is not refused.
        self.refusal: Refusal | None = None
        self._config = config
        self._flights = flights
        self._trust: ssl.SSLContext | None = None
        self._tokens: Tokens | None = None

    def __repr__(self) -> str:
        return f"<Web {self._config.name} {self.refusal!r}>"

    @asynccontextmanager
    async def authorized(self) -> AsyncIterator[Tokens | None]:
        """Give what puts tokens on requests, where the server wants them."""
        credentials = self._config.access.auth
        if credentials is None:
            yield None
            return
        async with self._made(timeout=httpx2.Timeout(HTTP_TIMEOUT)) as client:
            self._tokens = Tokens(self._config.url, credentials, client)
            yield self._tokens

    def client(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        """Return an HTTP client for the server itself."""
        return self._made(headers, timeout, auth, self._look)

    def _made(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
        look: Callable[[httpx2.Response], Awaitable[None]] | None = None,
    ) -> httpx2.AsyncClient:
        # At INFO it logs every URL, and a URL may carry a token.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        hooks = [self._bound] if look is None else [look, self._bound]
        if self._trust is None:
            self._trust = _trust(self._config)
        return httpx2.AsyncClient(
            headers=headers,
            timeout=timeout,
            auth=auth,
            event_hooks={"response": hooks},
            verify=self._trust,
        )

    async def _look(self, response: httpx2.Response) -> None:
        """Take note of a refusal, and of what ends one (an httpx event hook)."""
        if response.status_code < 400:
            self.refusal = None
        elif (response.request.method, response.status_code) != ("GET", 405):
            # A server that never speaks first refuses the stream for it: that is no failure.
            self.refusal = Refusal(response, self._tokens)
            self._flights.refused(self.refusal)

    async def _bound(self, response: httpx2.Response) -> None:
        """Read an answer that is not a stream, up to the limit (an httpx event hook).

        The SDK would read any number of bytes of it. One that is larger is answered in its place, as over pipes.
        """
        if not response.headers.get("content-type", "").lower().startswith("application/json"):
            return
        content = bytearray()
        async for part in response.aiter_bytes():
            content += part
            if len(content) > self.max_message:
                content = bytearray(_too_large(response.request, self.max_message))
                await response.aclose()
                break
        # Where aread() keeps what it has read.
        response._content = bytes(content)


def _trust(config: ServerConfig) -> ssl.SSLContext:
    trust = httpx2.create_ssl_context()
    if config.access.ca is not None:
        try:
            trust.load_verify_locations(config.access.ca)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror if isinstance(error, FileNotFoundError) else error
            raise OperationError(
                "server", f"omx.ca {config.access.ca!r} holds no certificates: {reason}"
            ) from error
    return trust


def _too_large(request: httpx2.Request, limit: int) -> bytes:
    try:
        asked = json.loads(request.content).get("id")
    except (ValueError, AttributeError, httpx2.RequestNotRead):
        asked = None
    said = f"it answered with a message of more than {limit:,} bytes, which is what is allowed"
    answer = {"jsonrpc": "2.0", "id": asked, "error": {"code": TOO_LARGE, "message": said}}
    return json.dumps(answer).encode()
