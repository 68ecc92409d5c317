"""Python's collector of cycles in an agent: it leaves alone what is there for good, and looks seldom at what comes.

With its own thresholds it walks the objects of all operations under way after every few of them, and Celery's and the
SDK's every now and then. What an agent is made of stays until its end, and operations leave few cycles behind.
"""

from __future__ import annotations

import gc

#: New objects before the young ones are looked through; such looks before older ones are, and the oldest.
THRESHOLDS = (10_000, 20, 50)


def settle() -> None:
    """Do this once, when the agent is warm."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
