"""How an operation's output is stored: as JSON, or compressed where it is large and that is wanted.

JSON begins with a brace and what zlib makes never does, so readers need no setting, and runs whose agents were started
with different ones can be read all the same.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import Any

#: zlib's level: the quickest. On JSON its default takes half as long again to save a sixth more.
LEVEL = 1


async def packed(text: str, above: int) -> str | bytes:
    """Return an output as it is stored: compressed, on a thread, where it has more than so many bytes (0: never)."""
    if not above or len(text) <= above:
        return text
    return await asyncio.to_thread(zlib.compress, text.encode(), LEVEL)


def parsed(stored: str | bytes) -> Any:
    """Return the value of an output as it was stored."""
    if isinstance(stored, bytes) and not stored.startswith(b"{"):
        stored = zlib.decompress(stored)
    return json.loads(stored)
