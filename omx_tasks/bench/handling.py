"""A process that handles events and says how late they came: ``python -m omx_tasks.bench.handling JSON``.

It prints ``ready``; then, for each line with a number, it waits until so many events were handled since the last such
line and prints what it saw of them; for an empty line it prints how many there are. It ends with its standard input.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from omx_tasks.durability import Promise
from omx_tasks.events.handlers import handler_of, on
from omx_tasks.events.processor import Processor
from omx_tasks.events.types import Event
from omx_tasks.priorities import Priority
from omx_tasks.store.client import Store

#: Seconds without an event after which waiting is given up.
STALL = 30.0


@dataclass
class Seen:
    """What was handled: how many, when the last one was (Unix seconds), and how late each was by its priority."""

    began: float = field(default_factory=time.time)
    handled: int = 0
    last: float = 0.0
    late: dict[str, list[float]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, events: list[Event]) -> None:
        """Note events; how late those came that are older than this process says nothing."""
        now = time.time()
        with self.changed:
            for event in events:
                if event.at > self.began:
                    self.late.setdefault(event.priority.name, []).append(now - event.at)
            self.handled += len(events)
            self.last = now
            self.changed.notify_all()

    def tell(self, count: int) -> dict[str, Any]:
        """Wait for so many events, say what they were, and begin anew."""
        with self.changed:
            while self.handled < count:
                if not self.changed.wait(STALL):
                    raise SystemExit(f"only {self.handled} of {count} events came")
            late = {name: quantiles(values) for name, values in self.late.items()}
            said = {"handled": self.handled, "last": self.last, "late": late}
            self.handled, self.late = self.handled - count, {}
            return said


def quantiles(values: list[float]) -> dict[str, float]:
    """Return median, p99 and number of some seconds, in milliseconds."""
    ordered = sorted(values)
    at = {name: ordered[math.ceil(len(ordered) * share) - 1] for name, share in SHARES.items()}
    return {**{name: value * 1000 for name, value in at.items()}, "count": len(ordered)}


SHARES = {"p50": 0.50, "p99": 0.99}


def main() -> None:
    """Handle events until standard input ends."""
    asked = json.loads(sys.argv[1])
    seen = Seen()

    @on(
        asked["pattern"],
        name=asked["name"],
        batch=asked["batch"],
        begins="oldest",
        priority=[Priority(number) for number in asked["priorities"]],
    )
    def take(given: Any) -> None:
        seen.take(given if isinstance(given, list) else [given])

    handler = handler_of(take)
    assert handler is not None
    store = Store(asked["url"], promise=Promise.of({"durability": asked["durability"]}))
    processor = Processor(store, [handler]).start()
    print("ready", flush=True)
    for line in sys.stdin:
        said = seen.tell(int(line)) if line.strip() else {"handled": seen.handled}
        print(json.dumps(said), flush=True)
    processor.stop()


if __name__ == "__main__":
    main()
