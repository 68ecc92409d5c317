"""What processes say of themselves in the store, as JSON: read by processes of other versions, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def known(kind: type[Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said that a dataclass has a field for: one of a later version says more."""
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in said.items() if name in names}
