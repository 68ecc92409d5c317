"""What is said of agents that are not as they should be."""

from __future__ import annotations

from typing import Any

from omx_tasks.agents.scaling.nurseries import NurseryRecord
from omx_tasks.cli.unwell import unwell


def test_each_agent_that_is_down_or_goes_has_a_line_and_each_nursery_that_replaced_some() -> None:
    def agent(state: str, deaths: int = 0, reason: str = "") -> dict[str, Any]:
        return {"pid": None, "state": state, "deaths": deaths, "reason": reason}

    told = {
        "a1@h": agent("running", 1, "was ended by SIGKILL"),
        "a2@h": agent("crash loop", 4, "ended with status 2"),
        "a3@h": agent("draining", reason="uses 600 MiB and may use 512 MiB"),
    }
    nursery = NurseryRecord("a@h", "h", 1, "coder", 1, 3, 3, 1, agents=told, recycled=2, hung=1)
    assert [str(line) for line in unwell([nursery], [])] == [
        "a1@h starts",
        "a2@h crash loop: ended with status 2, 4 deaths",
        "a3@h draining: uses 600 MiB and may use 512 MiB",
        "a@h has replaced agents: 1 hung and ended, 2 recycled",
    ]
