"""Flower in a container: whoever asks must know what the secret ``flower`` holds (``user:password``)."""

from pathlib import Path

address = "0.0.0.0"  # noqa: S104  # of the container, whose ports are not published
port = 5555
basic_auth = [Path("/run/secrets/flower").read_text("utf-8").strip()]
