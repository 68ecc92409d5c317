"""Prints what is not MCP; then exits, or with ``serve`` works all the same."""

import sys

import wire

print("Welcome to the garbage server!\n<html>", flush=True)
if "serve" in sys.argv:
    wire.Server({"say": lambda request: wire.text(request, "hello")}).serve()
