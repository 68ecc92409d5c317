"""Where a cluster is: the ``rediscluster://`` URL, parsed once, shown without its password.

``rediscluster://[user:password@]host:port[,host:port…][?option=value]``, with TLS ``redisclusters://``.
Several seeds may be named; any one that answers is enough to learn the rest. What is special in a URL is
percent-encoded in user, password and options (``@`` is ``%40``). The options stand in ``options.py``; they can also
be given as Celery's ``broker_transport_options`` and ``result_backend_transport_options``, which win over the URL's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from omx_tasks.errors import ConfigurationError
from omx_tasks.logs.masking import mask_url
from omx_tasks.store import options as address_options
from omx_tasks.store.node import Node

__all__ = ["Address", "Node"]

SCHEMES = {"rediscluster": False, "redisclusters": True}


@dataclass(frozen=True)
class Address:
    """A parsed cluster URL; ``repr`` and ``str`` never show the password."""

    seeds: tuple[Node, ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    options: address_options.Options = ()

    @classmethod
    def parse(cls, url: str, given: Mapping[str, Any] | None = None) -> Address:
        """Read a URL, with the options that ``given`` (transport options) has for an address.

        Raises `ConfigurationError` that says what is wrong and does not show the password.
        """
        try:
            return cls._parsed(url, address_options.known(given or {}))
        except ValueError as error:
            raise ConfigurationError(f"{mask_url(url)!r}: {error}.") from error

    @classmethod
    def _parsed(cls, url: str, given: Mapping[str, Any]) -> Address:
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in SCHEMES:
            raise ValueError(
                "this is no cluster address; "
                "write rediscluster://host:port[,host:port…] (redisclusters:// for TLS)"
            )
        rest, _, query = rest.partition("?")
        rest, _, path = rest.partition("/")
        if "@" in path + query:
            raise ValueError("write the / ? and @ of a user, password or option as %2F %3F and %40")
        if path.strip("/") not in ("", "0"):
            raise ValueError(
                f"a cluster has no database but 0, so /{path} is in vain: leave it out"
            )
        credentials, _, hosts = rest.rpartition("@")
        user, _, secret = credentials.partition(":")
        named = {name: v[-1] for name, v in parse_qs(query, keep_blank_values=True).items()}
        return cls(
            seeds=tuple(Node.parse(part) for part in hosts.split(",") if part.strip()),
            username=unquote(user) or None,
            password=unquote(secret) or None,
            tls=SCHEMES[scheme],
            options=address_options.read({**named, **given}),
        )._checked()

    def _checked(self) -> Address:
        if not self.seeds:
            raise ValueError("it names no host: add at least one host:port")
        for name, _ in self.options:
            if name.startswith("ssl_") and not self.tls:
                raise ValueError(f"{name} needs TLS: write redisclusters:// for it")
        if "ssl_keyfile" in self.option and "ssl_certfile" not in self.option:
            raise ValueError("ssl_keyfile is the key of a certificate: name that as ssl_certfile")
        return self

    @cached_property
    def option(self) -> dict[str, str]:
        """The options by name."""
        return dict(self.options)

    @cached_property
    def _remap(self) -> dict[Node, Node]:
        return address_options.remap(self.option.get("address_remap", "{}"))

    def reachable(self, announced: Node) -> Node:
        """Return where a node that the cluster announced is reached from here."""
        return self._remap.get(announced, announced)

    def __str__(self) -> str:
        return self.uri()

    def uri(self, *, include_password: bool = False, mask: str = "**") -> str:
        """Return the URL again, with the password masked unless asked for."""
        scheme = "redisclusters" if self.tls else "rediscluster"
        secret = quote(self.password or "", safe="") if include_password else mask
        user = quote(self.username or "", safe="")
        credentials = f"{user}:{secret}@" if self.password else f"{user}@" if user else ""
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in self.options)
        hosts = ",".join(str(seed) for seed in self.seeds)
        return f"{scheme}://{credentials}{hosts}" + (f"?{query}" if query else "")
