"""A form: the text of a message that many share, serialised once, with blanks for what differs.

Serialising a message costs ten times what filling in a form costs. A blank stands for a whole JSON value; what is
filled in must be JSON: a number as text, or a `quoted` string.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii
from typing import Any
from uuid import uuid4

from kombu.utils.json import dumps

_MARK = uuid4().hex
_BLANK = re.compile(f'"{_MARK}-(\\w+)"')

#: Returns a text as JSON.
quoted = encode_basestring_ascii


def blank(name: str) -> str:
    """Return what stands for a value of that name in the message that a form is made of."""
    return f"{_MARK}-{name}"


class Form:
    """A message with blanks."""

    __slots__ = ("_text",)

    def __init__(self, message: Any) -> None:
        self._text: str = _BLANK.sub(r"%(\1)s", dumps(message).replace("%", "%%"))

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the message with each blank's value, which is JSON, in its place."""
        return self._text % values
