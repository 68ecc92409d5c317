"""TLS to the nodes: what is believed, and in plain words why a handshake failed.

A certificate is verified, against the system's authorities or the given one, and must be for the host that is
connected to: with ``address_remap`` that is the address after it. A file that has changed is read again for the next
link, so that certificates can be renewed while agents run.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from omx_tasks.errors import ConfigurationError
from omx_tasks.store.address import Address
from omx_tasks.store.node import Node
from omx_tasks.store.options import Options

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

#: OpenSSL's numbers for a certificate that is for another host name or another address.
_OTHER_HOST = frozenset({62, 64})
NO_TLS = "it speaks no TLS; write rediscluster:// for it"
ONLY_TLS = "it speaks TLS; write redisclusters:// for it"
#: Seconds for finding out which protocol a server speaks.
_PROBE = 1.0


def context(address: Address) -> ssl.SSLContext:
    """Return the context for links to this address; raises `ConfigurationError` naming a faulty file."""
    option = address.option
    files = [option[name] for name in _FILES if name in option]
    return _context(address.options, tuple(_changed(file) for file in files))


def _changed(file: str) -> int:
    """Return when a file changed last; 0 where it is not there, which is told when it is read."""
    with suppress(OSError):
        return Path(file).stat().st_mtime_ns
    return 0


@lru_cache(maxsize=8)
def _context(options: Options, _versions: tuple[int, ...]) -> ssl.SSLContext:
    option = dict(options)
    authorities = option.get("ssl_ca_certs")
    try:
        made = ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise ConfigurationError(f"ssl_ca_certs={authorities} cannot be used: {error}.") from error
    verified = option.get("ssl_cert_reqs") != "none"
    made.check_hostname = verified and option.get("ssl_check_hostname") != "false"
    made.verify_mode = ssl.CERT_REQUIRED if verified else ssl.CERT_NONE
    if certificate := option.get("ssl_certfile"):
        key = option.get("ssl_keyfile")
        try:
            made.load_cert_chain(certificate, key, password=_refuse_to_ask)
        except (OSError, ValueError) as error:
            files = f"ssl_certfile={certificate}" + (f", ssl_keyfile={key}" if key else "")
            raise ConfigurationError(f"{files} cannot be used: {error}.") from error
    return made


def _refuse_to_ask() -> str:
    raise ValueError("the key is encrypted, and nobody can be asked for its password")


def refusal(error: BaseException | None, node: Node) -> str | None:
    """Return what to do about a failed handshake that will not pass by itself, or None."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_HOST:
            return (
                f"{error.verify_message.rstrip('.')}; let the cluster announce what its certificates are for, "
                "or say ssl_check_hostname=false"
            )
        return f"its certificate is not trusted ({error.verify_message}); name its authority in ssl_ca_certs"
    return _alert(error) or (NO_TLS if speaks_plainly(node) else None)


def _alert(error: BaseException | None) -> str | None:
    """Return what to do about a server that does not accept our certificate, or that we have none."""
    reason = str(error.reason) if isinstance(error, ssl.SSLError) else ""
    if "ALERT" not in reason or not ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return None
    if "REQUIRED" in reason:
        return "it asks for a client certificate; name one in ssl_certfile and ssl_keyfile"
    words = reason.lower().replace("_", " ")
    return f"it does not accept the certificate in ssl_certfile ({words})"


def mismatch(error: BaseException | None, address: Address, node: Node) -> str | None:
    """Return what to do about a connection that broke before its first answer, or None."""
    if address.tls:  # in TLS 1.3 a server refuses a client's certificate after the handshake
        return _alert(error)
    return ONLY_TLS if speaks_tls(node) else None


def speaks_plainly(node: Node) -> bool:
    """Whether a server answers a command that is sent without TLS."""
    with suppress(OSError), socket.create_connection(node, _PROBE) as probe:
        probe.sendall(b"PING\r\n")
        return probe.recv(1) in (b"+", b"-")
    return False


def speaks_tls(node: Node) -> bool:
    """Whether a server takes part in a TLS handshake, whatever comes of it."""
    anything = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
    with (
        suppress(OSError),
        socket.create_connection(node, _PROBE) as probe,
        anything.wrap_socket(probe),
    ):
        return True
    return False
