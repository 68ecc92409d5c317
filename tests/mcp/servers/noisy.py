"""Writes a megabyte to standard error before the handshake, and a line that never ends."""

import sys

import wire

for number in range(20_000):
    print(f"debug {number} " + "x" * 40, file=sys.stderr)
sys.stderr.write("y" * 100_000)
sys.stderr.flush()
wire.Server({"say": lambda request: wire.text(request, "hello")}).serve()
