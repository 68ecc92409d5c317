"""Tokens for a server over HTTP, had with client credentials (OAuth 2.1) by the SDK's provider.

::

    no token ──request──► 401 ──► metadata found, token fetched ──► the request again, with it
       │ (a token_url is given: fetched before)                         │
       └────────────────────────────────────────────────────────────────┴─► nine tenths of its life are over:
                                                                             the next request fetches another

The SDK's provider holds its lock until a request is answered, so that calls would be made one by one, and what fails
on the way to a token ends the connection with all calls on it. Here only fetching is one at a time, and where no token
can be had the request goes without a fresh one: the server then refuses it alone, and ``refusal`` says why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import httpx2
from mcp.client.auth import OAuthFlowError, OAuthTokenError
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.auth.utils import issuers_match
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken
from pydantic import AnyHttpUrl, ValidationError

from omx_tasks.mcp.access import Credentials

#: The share of a token's life after which another one is fetched.
WORN = 0.9
#: The first protocol version in which a token is asked for the server that it is for (RFC 8707).
_NAMES_RESOURCE = "2025-06-18"
_REMEDIES = {
    "invalid_client": "check omx.auth.client_id, client_secret and method",
    "unauthorized_client": "have this client allowed the grant type client_credentials",
    "unsupported_grant_type": "this authorization server does not do client credentials",
    "invalid_scope": "check omx.auth.scopes",
    "invalid_target": "this authorization server does not know the url of the MCP server",
}

logger = logging.getLogger(__name__)


class Tokens(ClientCredentialsOAuthProvider):
    """Puts a token on each request to ``url``; ``client`` fetches them."""

    def __init__(self, url: str, credentials: Credentials, client: httpx2.AsyncClient) -> None:
        # It logs what fails with all that was answered; `refusal` says it.
        logging.getLogger("mcp.client.auth").setLevel(logging.CRITICAL)
        issuer = credentials.issuer or _origin(credentials.token_url or url)
        super().__init__(
            url,
            _Nowhere(),
            credentials.client_id,
            credentials.client_secret,
            credentials.method,
            " ".join(credentials.scopes) or None,
            issuer,
        )
        #: Why no token could be had the last time, and what to do; empty when one could.
        self.refusal = ""
        self._scope = self.context.client_metadata.scope
        self._client = client
        self._fetching = asyncio.Lock()
        self._worn_at: float | None = None
        self.context.protocol_version = _NAMES_RESOURCE
        self.context.client_info = self._fixed_client_info
        if credentials.token_url is not None:
            endpoint = AnyHttpUrl(credentials.token_url)
            self.context.oauth_metadata = OAuthMetadata(
                issuer=AnyHttpUrl(issuer), authorization_endpoint=endpoint, token_endpoint=endpoint
            )
        self._discovers = credentials.token_url is None

    def __repr__(self) -> str:
        return f"<Tokens {'valid' if self.context.is_token_valid() else 'none'}>"

    async def _auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        if self.context.oauth_metadata is not None and self._is_worn():
            async with self._fetching:
                if self._is_worn():
                    await self._fetch()
        used = self._bearer()
        self._put(request, used)
        response = yield request
        if response.status_code not in (401, 403):
            return
        async with self._fetching:
            # Others were refused as well, and one of them has fetched another meanwhile.
            if self._bearer() == used:
                await self._refused(request, response)
        if self._bearer() not in ("", used):
            self._put(request, self._bearer())
            yield request

    def _is_worn(self) -> bool:
        if not self.context.is_token_valid():
            return True
        return self._worn_at is not None and time.time() >= self._worn_at

    def _bearer(self) -> str:
        tokens = self.context.current_tokens
        return tokens.access_token if tokens is not None and self.context.is_token_valid() else ""

    def _put(self, request: httpx2.Request, token: str) -> None:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"

    async def _refused(self, request: httpx2.Request, response: httpx2.Response) -> None:
        """Fetch a token in place of the one that was refused, or the first."""
        if not self._discovers:
            await self._fetch()
            return
        self.context.clear_tokens()
        flow = super()._auth_flow(request)
        try:
            await flow.__anext__()
            asked = await flow.asend(response)  # that it is refused, as it was
            while asked is not request:
                asked = await flow.asend(await self._sent(asked))
        except StopAsyncIteration:
            return  # what is missing is no token
        except (OAuthFlowError, httpx2.HTTPError, ValidationError) as error:
            self._failed(error)
        else:
            self._had()
        finally:
            await flow.aclose()

    async def _fetch(self) -> None:
        try:
            request = await self._perform_authorization()
            await self._handle_token_response(await self._sent(request))
        except (OAuthFlowError, httpx2.HTTPError, ValidationError) as error:
            self._failed(error)
        else:
            self._had()

    def _select_authorization_server(self, advertised: list[str]) -> str:
        named = super()._select_authorization_server(advertised)
        if self._issuer is None or not issuers_match(named, self._issuer):
            raise OAuthFlowError(
                f"the server names {named} as its authorization server, not {self._issuer}; if the "
                f'credentials belong there, write "issuer": "{named}" under omx.auth'
            )
        return named

    async def _perform_authorization(self) -> httpx2.Request:
        # What the user wrote goes before what the server proposes.
        self.context.client_metadata.scope = self._scope or self.context.client_metadata.scope
        return await super()._perform_authorization()

    async def _sent(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self._client.send(request)
        except httpx2.HTTPError as error:
            what = str(error) or type(error).__name__
            raise OAuthFlowError(f"{_place(request)} cannot be reached: {what}") from error

    async def _handle_token_response(self, response: httpx2.Response) -> None:
        if response.status_code not in (200, 201):
            raise OAuthTokenError(_refusal(response))
        await super()._handle_token_response(response)

    def _had(self) -> None:
        self.refusal = ""
        tokens = self.context.current_tokens
        life = None if tokens is None else tokens.expires_in
        self._worn_at = None if life is None else time.time() + WORN * life

    def _failed(self, error: Exception) -> None:
        self.refusal = f"no token could be had: {self._explained(error)}"
        logger.warning("%s", self.refusal)

    def _explained(self, error: Exception) -> str:
        if isinstance(error, ValidationError):
            return "the authorization server did not answer as OAuth 2 has it"
        if "No authorization server metadata" in str(error):
            return 'no authorization server was found; name its "token_url" under omx.auth'
        return str(error)


class _Nowhere:
    """Keeps no token beyond the session."""

    async def get_tokens(self) -> OAuthToken | None:
        return None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Forget them."""

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Forget it."""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _place(request: httpx2.Request) -> str:
    """Return where a request went, without what may be a secret."""
    return str(request.url.copy_with(userinfo=b"", query=None, fragment=None))


def _refusal(response: httpx2.Response) -> str:
    said: object = None
    try:
        answer = response.json()
        said = answer.get("error") if isinstance(answer, dict) else None
    except ValueError:
        pass
    code = said if isinstance(said, str) and len(said) < 100 else ""
    words = f"{_place(response.request)} answered with HTTP {response.status_code}"
    remedy = _REMEDIES.get(code, "check omx.auth")
    return f"{words}{f' {code}' if code else ''}; {remedy}"
