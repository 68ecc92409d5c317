"""Where a cluster is: the ``rediscluster://`` URL, parsed once, shown without its password.

``rediscluster://[user:password@]host:port[,host:port…][?option=value]``, with TLS ``redisclusters://``.
Several seeds may be named; any one that answers is enough to learn the rest.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote

from omx_tasks.errors import ConfigurationError

SCHEMES = {"rediscluster": False, "redisclusters": True}
DEFAULT_PORT = 6379
OPTIONS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}


class Node(NamedTuple):
    """A server of the cluster: host and port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Address:
    """A parsed cluster URL; ``repr`` and ``str`` never show the password."""

    seeds: tuple[Node, ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL; raises `ConfigurationError` that says what is wrong with it."""
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in SCHEMES:
            raise ConfigurationError(
                f"{mask(url)!r} is no cluster address: "
                "write rediscluster://host:port[,host:port…] (redisclusters:// for TLS)."
            )
        rest, _, query = rest.partition("?")
        hosts, _, _path = rest.partition("/")
        credentials, _, hosts = hosts.rpartition("@")
        user, _, secret = credentials.partition(":")
        return cls(
            seeds=tuple(_node(part, url) for part in hosts.split(",") if part),
            username=unquote(user) or None,
            password=unquote(secret) or None,
            tls=SCHEMES[scheme],
            options=_options(query, url),
        )._checked(url)

    def _checked(self, url: str) -> Address:
        if not self.seeds:
            raise ConfigurationError(f"{mask(url)!r} names no host: add at least one host:port.")
        return self

    def __str__(self) -> str:
        return self.uri()

    def uri(self, *, include_password: bool = False, mask: str = "**") -> str:
        """Return the URL again, with the password masked unless asked for."""
        scheme = "redisclusters" if self.tls else "rediscluster"
        secret = quote(self.password or "", safe="") if include_password else mask
        user = quote(self.username or "", safe="")
        credentials = f"{user}:{secret}@" if self.password else f"{user}@" if user else ""
        query = "&".join(f"{k}={quote(v, safe='/')}" for k, v in self.options)
        hosts = ",".join(str(seed) for seed in self.seeds)
        return f"{scheme}://{credentials}{hosts}" + (f"?{query}" if query else "")

    def tls_context(self) -> ssl.SSLContext | None:
        """Return the TLS context for this address, or None where it is plain."""
        if not self.tls:
            return None
        given = dict(self.options)
        context = ssl.create_default_context(cafile=given.get("ssl_ca_certs"))
        if "ssl_certfile" in given:
            context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"))
        context.check_hostname = given.get("ssl_check_hostname", "true").lower() != "false"
        return context


def mask(url: str) -> str:
    """Return ``url`` with any password replaced by ``**``; works on malformed ones too."""
    scheme, separator, rest = url.partition("://")
    credentials, at, hosts = rest.rpartition("@")
    if not at:
        return url
    user = credentials.partition(":")[0]
    return f"{scheme}{separator}{user}:**@{hosts}"


def _node(text: str, url: str) -> Node:
    host, separator, port = text.rpartition(":")
    if not separator or text.endswith("]"):
        return Node(text.strip("[]"), DEFAULT_PORT)
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"{mask(url)!r}: {text!r} has no valid port (1 to 65535).")
    return Node(host.strip("[]"), int(port))


def _options(query: str, url: str) -> tuple[tuple[str, str], ...]:
    given = {name: values[-1] for name, values in parse_qs(query).items()}
    if unknown := set(given) - OPTIONS:
        raise ConfigurationError(
            f"{mask(url)!r}: unknown option {sorted(unknown)[0]!r}; known: {', '.join(sorted(OPTIONS))}."
        )
    return tuple(sorted(given.items()))
