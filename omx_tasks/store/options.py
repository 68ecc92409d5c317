"""The options of a cluster address, from its URL or from Celery's transport options, checked and spelled one way.

- ``ssl_ca_certs``: file with the authorities to believe; without it, the system's.
- ``ssl_certfile``, ``ssl_keyfile``: the client's own certificate and its key.
- ``ssl_cert_reqs``: ``required`` (as it is without it) or ``none``: believe any certificate.
- ``ssl_check_hostname``: ``true`` (as it is without it) or ``false``: a certificate of the authority is
  enough, whatever names it is for. A cluster announces addresses, so its certificates must be for those addresses.
- ``address_remap``: announced address → the one that reaches it from here, as a JSON object
  (``{"10.0.0.1:6379": "127.0.0.1:7001"}``), for nodes behind port forwarding or one proxy port each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum
from os import PathLike, fspath
from typing import Any

from omx_tasks.errors import did_you_mean
from omx_tasks.store.node import Node

Options = tuple[tuple[str, str], ...]


def read(given: Mapping[str, Any]) -> Options:
    """Check options and return them as sorted pairs of text; raises ValueError that names the option."""
    for name in given:
        if name not in _READERS:
            meant = did_you_mean(name, _READERS)
            raise ValueError(f"unknown option {name!r};{meant} known: {', '.join(OPTIONS)}")
    return tuple((name, _READERS[name](name, given[name])) for name in sorted(given))


def known(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``given`` that are options of an address: transport options hold others too."""
    return {name: value for name, value in given.items() if name in _READERS}


def remap(text: str) -> dict[Node, Node]:
    """Read an ``address_remap`` that `read` returned."""
    return {Node.parse(announced): Node.parse(here) for announced, here in json.loads(text).items()}


def _file(name: str, value: Any) -> str:
    if not isinstance(value, str | PathLike) or not (path := fspath(value)):
        raise ValueError(f"{name}={value!r} names no file")
    return str(path)


def _truth(name: str, value: Any) -> str:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError(f"{name}={value!r}: write true or false")
    return text


def _requirement(name: str, value: Any) -> str:
    """Read ``none`` or ``required``, also as Python's ssl module and Celery's settings spell them."""
    text = value.name if isinstance(value, Enum) else str(value)
    text = text.lower().removeprefix("cert_")
    if text not in ("none", "required"):
        raise ValueError(f"{name}={value!r}: write none or required")
    return text


def _remap(name: str, value: Any) -> str:
    remedy = 'write a JSON object such as {"10.0.0.1:6379": "127.0.0.1:7001"}'
    try:
        pairs = json.loads(value) if isinstance(value, str) else dict(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no JSON object ({error}): {remedy}") from error
    if not isinstance(pairs, dict) or not all(isinstance(here, str) for here in pairs.values()):
        raise ValueError(f"{name} is no JSON object of addresses: {remedy}")
    try:
        nodes = {str(Node.parse(str(k))): str(Node.parse(v)) for k, v in pairs.items()}
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return json.dumps(nodes, sort_keys=True, separators=(",", ":"))


_READERS: dict[str, Callable[[str, Any], str]] = {
    "address_remap": _remap,
    "ssl_ca_certs": _file,
    "ssl_cert_reqs": _requirement,
    "ssl_certfile": _file,
    "ssl_check_hostname": _truth,
    "ssl_keyfile": _file,
}
OPTIONS = tuple(_READERS)
