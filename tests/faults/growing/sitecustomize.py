"""Lets processes grow: SIGRTMIN has every Python that has this folder on its path take memory, and keep it."""

from __future__ import annotations

import os
import signal

BYTES = int(os.environ.get("GROW_BY", "0"))
kept: list[bytes] = []

if BYTES:
    signal.signal(signal.SIGRTMIN, lambda *_: kept.append(b"x" * BYTES))
