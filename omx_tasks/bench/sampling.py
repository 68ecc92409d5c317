"""Where a process spends its time, by a sampling profiler that looks at it from outside: py-spy, if that is installed.

Only threads that hold Python's lock are sampled, not those that wait. On a machine that is busy with other things a
long stretch of work counts for more than it uses, since it is interrupted sooner than a short one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from omx_tasks.errors import UnavailableError

#: Samples a second.
RATE = 250

#: What belongs to a part: pieces of the frames of its functions, as in ``agents/telling.py``.
Parts = Mapping[str, Sequence[str]]


def parts_of(
    pid: int, seconds: float, parts: Parts, folder: Path, load: Callable[[], object]
) -> dict[str, float]:
    """Return the share of each part in the time of a process, while ``load`` is done again and again.

    A sample belongs to the first part of which a function is under way. Raises `UnavailableError` where nothing can be
    sampled.
    """
    raw = folder / "samples"
    command = [_program(), "record", "--pid", str(pid), "--duration", str(round(seconds))]
    options = ["--rate", str(RATE), "--gil", "--full-filenames", "--format", "raw"]
    profiler = subprocess.Popen(
        [*command, *options, "--output", str(raw)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with profiler:
        while profiler.poll() is None:
            load()
        said = profiler.stderr.read() if profiler.stderr else ""
    if profiler.returncode or not raw.exists():
        raise UnavailableError(f"py-spy cannot look at another process here: {said.strip()[-200:]}")
    return _shares(raw.read_text("utf-8").splitlines(), parts)


def _program() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise UnavailableError("py-spy is not installed (pip install py-spy)")
    return found


def _shares(lines: Sequence[str], parts: Parts) -> dict[str, float]:
    """Read lines of frames and how often they were seen, ``one;two;three 12``."""
    counts: Counter[str] = Counter()
    total = 0
    for line in lines:
        frames, _, count = line.rpartition(" ")
        total += int(count)
        for part, pieces in parts.items():
            if any(piece in frames for piece in pieces):
                counts[part] += int(count)
                break
    if not total:
        raise UnavailableError("py-spy saw nothing of the process")
    return {part: counts[part] / total for part in parts}
