"""What a server's HTTP status says that was not a success, and what to do about it."""

from __future__ import annotations

import httpx2

from omx_tasks.mcp.retry_hint import of_header
from omx_tasks.mcp.tokens import Tokens

# Too many requests, service unavailable.
BUSY = (429, 503)

_REMEDIES = {
    401: "its credentials are missing or not accepted: see its headers, or omx.auth",
    403: "its credentials do not allow this: see its headers, or the scopes in omx.auth",
    404: "see whether the url is right, with its path",
    405: "see whether the url is right, and is that of a streamable HTTP server",
}


class Refusal:
    """An HTTP status that was not a success; the SDK's errors do not name it."""

    def __init__(self, response: httpx2.Response, tokens: Tokens | None = None) -> None:
        self.status = response.status_code
        self.text = f"HTTP {response.status_code} {response.reason_phrase}".strip()
        self._tokens = tokens
        #: In how many seconds the server wants to be asked again, where it refused for being busy and said so.
        busy = self.status in BUSY
        self.retry_after = of_header(response.headers.get("retry-after")) if busy else None

    def __repr__(self) -> str:
        return f"<Refusal {self.text}>"

    @property
    def remedy(self) -> str:
        """What to do about it; why there was no token is known only after the refusal."""
        why = "" if self._tokens is None or self.status != 401 else self._tokens.refusal
        return why or _REMEDIES.get(self.status, "")
