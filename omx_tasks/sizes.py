"""Amounts of memory, as people write them: ``512MiB``, ``1.5GiB``."""

from __future__ import annotations

import re

_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})")


def parse(text: object) -> int:
    """Return the bytes; raises ``ValueError`` that says how to write it."""
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None or float(found[1]) == 0:
        raise ValueError('write a number and its unit, as in "512MiB" or "2GiB"')
    return round(float(found[1]) * _UNITS[found[2]])


def shown(size: int) -> str:
    """Return bytes as a person reads them."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
