"""The bench of single commands: that it runs through a real proxy, and that its figures are there."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from omx_tasks.cli.main import cli

WITHOUT = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None


@pytest.mark.skipif(WITHOUT, reason="there is no haproxy on this machine")
def test_a_quick_bench_of_commands_has_all_its_figures() -> None:
    result = CliRunner().invoke(cli, ["bench", "redis", "--quick", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert len(rows) == 20
    assert all(row["value"] > 0 for row in rows)
