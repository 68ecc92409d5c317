"""Delivers each broadcast once: one that was sent again, because its confirmation was lost, is known by its tag."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

#: Broadcasts that are remembered; a request is sent again within seconds.
REMEMBERED = 10_000


class Once:
    """A consumer's callback that takes no message twice."""

    def __init__(self, callback: Callable[[Any], Any]) -> None:
        self._callback = callback
        self._seen: OrderedDict[str, None] = OrderedDict()

    def __call__(self, message: Any) -> None:
        """Hand on a message whose tag was not seen."""
        tag = message.delivery_tag
        if tag in self._seen:
            return
        self._seen[tag] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        self._callback(message)
