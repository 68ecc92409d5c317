"""Exits at once, with reasons on standard error, the secret among them."""

import os
import sys

for number in range(100):
    print(f"reason {number}", file=sys.stderr)
print(f"bad token {os.environ.get('TOKEN')}", file=sys.stderr)
sys.exit(3)
