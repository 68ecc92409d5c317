"""What it takes to be let in by a server over HTTP: whom to trust, and client credentials (OAuth 2.1).

Both stand under a server's ``omx`` key, as they are no part of what other hosts read::

    "omx": {"ca": "company.pem",
            "auth": {"type": "client_credentials", "client_id": "${ID}", "client_secret": "${SECRET}",
                     "scopes": ["read"], "token_url": "https://login.example.com/token"}}

The credentials go to the ``token_url``, or else to the authorization server that the MCP server names, if it
is the ``issuer`` given here. Where neither is given it must be the MCP server's own host: else a server could
have them sent to whom it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from omx_tasks.errors import did_you_mean

#: How the credentials are shown to the token endpoint: in a header, or in the form.
Method: TypeAlias = Literal["client_secret_basic", "client_secret_post"]
#: Replaces the ``${…}`` in the value of a key.
Fill: TypeAlias = Callable[[str, str], str]

KEYS = ("ca", "auth")
_METHODS: tuple[Method, ...] = ("client_secret_basic", "client_secret_post")
_NEEDED = ("type", "client_id", "client_secret")
_KNOWN = (*_NEEDED, "scopes", "token_url", "issuer", "method")


@dataclass(frozen=True)
class Credentials:
    """Client credentials, and where a token is to be had for them."""

    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...] = ()
    token_url: str | None = None
    issuer: str | None = None
    method: Method = "client_secret_basic"

    def filled(self, fill: Fill) -> Credentials:
        """Return the same with ``${…}`` replaced; raises ``ValueError`` for what is no URL then."""
        whole = replace(
            self,
            client_id=fill("omx.auth.client_id", self.client_id),
            client_secret=fill("omx.auth.client_secret", self.client_secret),
            scopes=tuple(fill("omx.auth.scopes", scope) for scope in self.scopes),
            token_url=_filled(fill, "omx.auth.token_url", self.token_url),
            issuer=_filled(fill, "omx.auth.issuer", self.issuer),
        )
        for key, url in (("token_url", whole.token_url), ("issuer", whole.issuer)):
            if url is not None and urlsplit(url).scheme not in ("http", "https"):
                raise ValueError(f"omx.auth.{key}: must begin with https:// (or http://)")
        return whole


@dataclass(frozen=True)
class Access:
    """``ca``: a file with certificates of authorities to trust beside the usual ones."""

    ca: str | None = None
    auth: Credentials | None = None

    def filled(self, fill: Fill) -> Access:
        """Return the same with ``${…}`` replaced."""
        auth = None if self.auth is None else self.auth.filled(fill)
        return Access(_filled(fill, "omx.ca", self.ca), auth)

    @property
    def secrets(self) -> frozenset[str]:
        """What must not be shown."""
        return frozenset() if self.auth is None else frozenset((self.auth.client_secret,))


def parse(omx: Mapping[str, Any]) -> Access:
    """Check these keys of an ``omx`` object strictly; raises ``ValueError`` that says what is wrong."""
    auth = omx.get("auth")
    return Access(_text(omx, "ca", "omx."), None if auth is None else _credentials(auth))


def _credentials(raw: Any) -> Credentials:
    if not isinstance(raw, dict):
        raise ValueError('"omx.auth" must be an object')
    for key in raw:
        if key not in _KNOWN:
            hint = did_you_mean(key, _KNOWN) or f" Known keys: {', '.join(_KNOWN)}"
            raise ValueError(f'"omx.auth" has no key {key!r}.{hint}')
    missing = [key for key in _NEEDED if key not in raw]
    if missing:
        raise ValueError(f'"omx.auth" needs {" and ".join(missing)}')
    if raw["type"] != "client_credentials":
        raise ValueError('"omx.auth.type" must be "client_credentials"; others need a person')
    method = raw.get("method", "client_secret_basic")
    if method not in _METHODS:
        raise ValueError(f'"omx.auth.method" must be one of {", ".join(_METHODS)}')
    return Credentials(
        client_id=str(_text(raw, "client_id")),
        client_secret=str(_text(raw, "client_secret")),
        scopes=_scopes(raw.get("scopes", [])),
        token_url=_text(raw, "token_url"),
        issuer=_text(raw, "issuer"),
        method=method,
    )


def _scopes(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(scope, str) for scope in raw):
        raise ValueError('"omx.auth.scopes" must be a list of strings')
    return tuple(raw)


def _text(raw: Mapping[str, Any], key: str, place: str = "omx.auth.") -> str | None:
    value = raw.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError(f'"{place}{key}" must be a string that is not empty')
    return value


def _filled(fill: Fill, key: str, text: str | None) -> str | None:
    return None if text is None else fill(key, text)
