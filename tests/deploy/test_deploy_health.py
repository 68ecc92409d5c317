"""Which agents are taken for hung, and which are replaced for what they cannot do though others can."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omx_tasks.agents.health.pulse import file_of
from omx_tasks.agents.registry import AgentRecord
from omx_tasks.deploy.quarantine import PATIENCE, unfit
from omx_tasks.deploy.watch import Watch


class Watched:
    """Two agents, of which the test says when they show a pulse, and when they are looked at."""

    def __init__(self, folder: Path) -> None:
        self.now, self.folder = 0.0, folder
        self.watch = Watch(folder, 5.0, clock=lambda: self.now)
        self.pids = {"one": 11, "two": 22}
        for name in self.pids:
            self.watch.expect(name)

    def after(self, seconds: float, *pulses: str) -> list[str]:
        """Let time pass, with these agents' pulses in it, and return who is hung."""
        self.now += seconds
        for name in pulses:
            os.utime(file_of(self.folder, name), (self.now, self.now))
        return sorted(self.watch.look(self.pids))


def test_one_is_hung_whose_pulse_stands_still_while_time_passes(tmp_path: Path) -> None:
    both = Watched(tmp_path)
    for _ in range(3):
        assert both.after(1.0, "one", "two") == []
    for _ in range(4):
        assert both.after(1.0, "two") == []
    assert both.after(1.0, "two") == ["one"]
    both.pids["one"] = 12
    both.watch.expect("one")  # another process in its place, which has not begun yet
    for _ in range(30):
        assert both.after(1.0, "two") == []


def test_a_machine_that_was_paused_has_no_hung_agents(tmp_path: Path) -> None:
    both = Watched(tmp_path)
    assert both.after(1.0, "one", "two") == []
    assert both.after(1.0, "one", "two") == []
    assert both.after(3600.0) == []
    assert both.after(1.0, "one", "two") == []
    for _ in range(9):  # so busy that nobody is on time
        assert both.after(3.0) == []


def _agent(name: str, config: str = "file", seconds: float | None = None) -> AgentRecord:
    about: dict[str, Any] = {"state": "open", "seconds": seconds, "reason": "it is gone"}
    session = {"server": "git", "state": "open" if seconds else "busy"}
    given: dict[str, Any] = {"host": "h", "pid": 1, "slots": 1, "busy": 0, "done": 0, "heard": 1.0}
    circuits = {} if seconds is None else {"git": about}
    return AgentRecord(
        name,
        **given,
        servers=["git"],
        failed={},
        config=config,
        circuits=circuits,
        sessions=[session],
    )


def test_one_is_unfit_that_cannot_call_for_long_what_another_can() -> None:
    ill, well = _agent("ill", seconds=PATIENCE), _agent("well")
    said = unfit([ill, well], {"ill", "well"})
    assert list(said) == ["ill"]
    assert "could not call server 'git' for 30 s though well can: it is gone" in said["ill"]
    assert unfit([ill, well], {"well"}) == {}  # it is another nursery's
    assert unfit([_agent("ill", seconds=PATIENCE / 2), well], {"ill"}) == {}
    assert unfit([ill, _agent("other", "another file")], {"ill"}) == {}
    assert unfit([ill, _agent("as ill", seconds=60.0)], {"ill", "as ill"}) == {}
