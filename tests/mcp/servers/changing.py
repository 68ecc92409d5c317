"""Offers the tools whose names are in a file, as it was at the start: ``changing.py FILE``."""

import sys
from pathlib import Path

import wire

path = Path(sys.argv[1])
if not path.exists():
    sys.exit("there is nothing to offer yet")
wire.Server(
    {name: lambda request: wire.text(request, "done") for name in path.read_text().split()}
).serve()
