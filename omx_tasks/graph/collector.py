"""Python's collector of cycles, at rest while a graph is made.

Building the objects of a large graph sets it off again and again, and each time it walks all that there is so far:
half of the time that a graph of ten thousand operations takes. There are no cycles among them to be found.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_rest() -> Iterator[None]:
    """Collect no cycles inside the block; a function that is decorated with it runs in such a block."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
