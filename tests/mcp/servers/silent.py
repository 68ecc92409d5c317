"""Reads and never answers. With ``stubborn`` it also ignores SIGTERM and the end of its input."""

import signal
import sys

sys.stderr.write("thinking about it\n")
sys.stderr.flush()
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in sys.stdin:
    pass
while "stubborn" in sys.argv:
    signal.pause()
