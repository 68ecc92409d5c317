"""Takes out of a text what nobody is to read: the one place that knows what a secret looks like.

Two things are masked. What looks like a secret, wherever it stands: who a URL is for (``user:password@``), its options
such as ``?token=…``, and what follows ``Bearer`` and ``Basic``. And the secrets that are known: a process `remember`s
those of its settings, of its environment, and of the servers that it starts, in each form in which a message may have
them (percent-encoded, as Python and JSON write strings).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit

MASK = "***"
#: Shorter values say nothing, and would blot out ordinary words; so would shorter lines of a long one.
SHORTEST, SHORTEST_LINE = 6, 16

_NAME = r"pass|pwd|secret|token|api_?key|access_?key|credential|signature"
_SECRET_OPTION = re.compile(rf"([?&][^=&\s]{{0,64}}(?:{_NAME})[^=&\s]{{0,64}}=)[^&\s\"'<>]*", re.I)
_USERINFO = re.compile(r"(://)([^\s/?#@:\"'<>]{0,256})(:[^\s/?#\"'<>]{0,1024})?@")
_BEARER = re.compile(r"\b(Bearer\s+)[\w.~+/-]{8,}=*", re.I)
_BASIC = re.compile(r"(\bBasic\s+)[A-Za-z0-9+/]{12,}={0,2}(?![\w ])")
_SECRET_VARIABLE = re.compile(
    r"pass|pwd|secret|token|credential|cookie|private|api_?key|(?:^|_)(?:auth|key|pat)(?:$|_)", re.I
)
#: Variables that say where a secret is, or how it is to be used.
_NO_SECRET = re.compile(
    r"_(?:file|dir|path|sock|url|uri|timeout|type|name)$|^(?:OLD)?PWD$|^SSH_|^XAUTH", re.I
)


class _Known:
    """The secrets of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.values: frozenset[str] = frozenset()

    def add(self, values: Iterable[str]) -> None:
        new = frozenset(value for value in values if len(value) >= SHORTEST)
        with self._lock:
            self.values |= new


_known = _Known()


def remember(values: Iterable[str]) -> None:
    """Mask these from now on in all that this process logs."""
    _known.add(values)


def remember_environment(environ: Mapping[str, str]) -> None:
    """Mask from now on the values of the variables whose names say that they are secret."""
    remember(value for name, value in environ.items() if is_secret_name(name))


def remember_url(url: str | None) -> None:
    """Mask from now on the password that a URL has, if it has one, as it stands there and as it is meant."""
    password = _password(url or "")
    remember((password, unquote(password)))


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name has a secret for its value."""
    return bool(_SECRET_VARIABLE.search(name)) and not _NO_SECRET.search(name)


def mask(text: str, secrets: Collection[str] = ()) -> str:
    """Return ``text`` without these secrets, those of this process, and what looks like one."""
    return mask_forms(hide(hide(text, secrets), _known.values))


def hide(text: str, secrets: Collection[str]) -> str:
    """Return ``text`` without these secrets."""
    pattern = _pattern(frozenset(secrets))
    return text if pattern is None else pattern.sub(MASK, text)


def mask_forms(text: str) -> str:
    """Return ``text`` without what looks like a secret."""
    if "://" in text:
        text = _USERINFO.sub(_without_password, text)
    if "=" in text:
        text = _SECRET_OPTION.sub(rf"\1{MASK}", text)
    return _BASIC.sub(rf"\1{MASK}", _BEARER.sub(rf"\1{MASK}", text))


def mask_url(url: str) -> str:
    """Return a URL with any password replaced by ``**``; works on malformed ones too."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    credentials, at, hosts = rest.rpartition("@")
    if at:
        rest = f"{credentials.partition(':')[0]}:**@{hosts}"
    return _SECRET_OPTION.sub(r"\1**", f"{scheme}{separator}{rest}")


def _without_password(found: re.Match[str]) -> str:
    """Keep the user's name beside a password; alone it may be a token."""
    start, user, password = found.groups()
    return f"{start}{user}:{MASK}@" if password and user else f"{start}{MASK}@"


@lru_cache(maxsize=256)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    """Return what finds any form of these secrets, the longest first."""
    forms = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
    if not forms:
        return None
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))


def _forms(secret: str) -> Iterator[str]:
    yield from (secret, quote(secret, safe=""), repr(secret)[1:-1], json.dumps(secret)[1:-1])
    scheme, _, rest = secret.partition(" ")
    if scheme.lower() in ("bearer", "basic", "token") and len(rest) >= SHORTEST:
        yield rest
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= SHORTEST_LINE)


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:  # whoever uses it says what is wrong with it
        return ""


def secrets_of(values: Mapping[str, Any]) -> list[str]:
    """Return the values of what has a secret's name."""
    return [str(value) for name, value in values.items() if is_secret_name(name)]
