"""The ideal that operations are measured against: a plain client with the same calls on one session, and nothing else.

No broker, nothing durable, no results kept. ``python -m omx_tasks.bench.direct COUNT AT_ONCE`` prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import psutil
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from omx_tasks.bench import sleeper

#: Calls before the first that is measured.
WARM_UP = 100


def connect() -> Client:
    """Return a client of a sleeping server of its own; both begin when it is entered."""
    command = StdioServerParameters(command=sys.executable, args=[sleeper.__file__])
    return Client(stdio_client(command))


async def main(count: int, at_once: int) -> None:
    """Make ``count`` calls, so many at once."""
    async with connect() as client:
        await _calls(client, WARM_UP, at_once, "warm")
        before, began = _used(), time.perf_counter()
        await _calls(client, count, at_once, "call")
        seconds, after = time.perf_counter() - began, _used()
    used = [(end - begin) / count for begin, end in zip(before, after, strict=True)]
    print(json.dumps({"seconds": seconds, "client": used[0], "server": used[1]}))


async def _calls(client: Client, count: int, at_once: int, name: str) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await client.call_tool(sleeper.TOOL, {"seconds": 0, "task": f"{name} {number}"})

    await asyncio.gather(*(work() for _ in range(at_once)))


def _used() -> tuple[float, float]:
    """Return the processor seconds of this process and of its server."""
    server = sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))
    return time.process_time(), server


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
