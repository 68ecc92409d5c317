"""Clusters of a fault's own; the ledger and its workers are those of ``tests/ledger``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "ledger"))
