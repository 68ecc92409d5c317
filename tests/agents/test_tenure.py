"""When an agent ends itself: for what it and its servers use, or for what it has done."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from fleet import Fleet

from omx_tasks import memory
from omx_tasks.agents.health.tenure import SETTLED, Tenure
from omx_tasks.agents.registry import agents

MIB = 2**20
#: What the agents of these tests share with others.
SHARED = 10 * MIB


class Retiring(Tenure):
    """One that is looked at by hand."""

    def __init__(self, **fields: Any) -> None:
        self.now, self.uses, self.did, self.ended = 0.0, 0, 0, list[str]()
        super().__init__(
            **{"limit": None, "most": 0, **fields},
            done=lambda: self.did,
            told=lambda reason, *_: self.ended.append(reason),
            used=lambda: self.uses,
            clock=lambda: self.now,
            at_most=lambda: self.uses + SHARED,
        )
        self.end = lambda: None


def test_it_retires_once_when_it_uses_too_much_for_longer_than_a_moment() -> None:
    one = Retiring(limit=100 * MIB)
    one.uses = 200 * MIB
    one.look()
    one.look()
    assert one.ended == []  # it has only begun: perhaps it needs so much
    one.now = SETTLED
    one.uses = 50 * MIB
    one.look()
    one.uses = 200 * MIB
    one.look()
    assert one.ended == []
    one.look()
    one.look()
    assert one.ended == ["uses 200 MiB and may use 100 MiB"]
    assert one.as_json() == {"memory": 200 * MIB, "retiring": one.ended[0]}


def test_what_its_servers_use_counts_as_its_own() -> None:
    before = memory.of_this_tree()
    hold = f"x = bytearray({64 * MIB}); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        assert memory.of_this_tree() - before > 60 * MIB
        server.send_signal(signal.SIGKILL)


def test_a_tree_is_looked_at_through_and_through_and_nothing_else_is() -> None:
    hold = f"import subprocess, sys; x = bytearray({64 * MIB}); subprocess.run(sys.argv[1:])"
    inner = [
        sys.executable,
        "-S",
        "-c",
        f"x = bytearray({32 * MIB}); print(1, flush=True); input()",
    ]
    with subprocess.Popen(
        [sys.executable, "-S", "-c", hold, *inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        (child,) = psutil.Process(server.pid).children()
        assert memory.tree_of(server.pid) == [server.pid, child.pid]
        used = memory.of_trees({server.pid, child.pid})
        assert 32 * MIB < used[child.pid] < 64 * MIB
        assert 96 * MIB < used[server.pid] < 160 * MIB
        server.communicate(b"\n")
    assert memory.of_trees({server.pid}) == {}
    assert memory.parts_of_tree(server.pid) == 0


def test_an_agent_ends_in_good_order_after_so_many_operations_and_says_why(
    fleet: Fleet, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("OMX_AGENT_OPERATIONS", "3")
    monkeypatch.setenv("OMX_LOG_DIR", str(tmp_path))
    agent = fleet.start(4)
    assert fleet.run(*(fleet.call(f"c{number}") for number in range(3))).succeeded
    assert agent.end() == 0
    assert "has done 3 operations" in agent.log.read_text()
    assert agent.name not in [one.name for one in agents(fleet.store)]
