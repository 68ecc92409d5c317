"""``omx agents templates``, and what is said of capability words where no system is up."""

from __future__ import annotations

import pytest


def test_all_templates_are_listed_within_the_width_and_who_was_left_out(place):
    listed = place.omx("agents", "templates", COLUMNS="80")
    assert listed.code == 0
    lines = listed.out.splitlines()
    assert sum(line.startswith(("coder ", "raft-manager ")) for line in lines) == 2
    assert all(len(line) <= 80 for line in lines)
    assert "  swarm-pr: pr-manager instead, since it" in listed.out
    told = place.omx("agents", "templates", "--json").json
    assert len(told["templates"]) == 54
    assert told["left_out"].keys() == {"release-swarm", "swarm-init", "swarm-issue", "swarm-pr"}


def test_one_template_is_shown_with_the_servers_that_fill_its_roles(place):
    place.servers({"git": {"command": "x"}, "disk": {"command": "x", "omx": {"roles": ["memory"]}}})
    shown = place.omx("agents", "templates", "coder")
    assert shown.code == 0
    assert "git         filled by git" in shown.out
    assert "memory      filled by disk" in shown.out
    assert "filesystem  not in your server file" in shown.out
    told = place.omx("agents", "templates", "coder", "--json").json
    assert told["filled"] == {"filesystem": [], "git": ["git"], "memory": ["disk"]}
    assert told["priorities"] == ["P0", "P1", "P2"]


def test_own_templates_are_listed_and_their_mistakes_told(place):
    folder = place.folder / "templates"
    folder.mkdir()
    own = folder / "cartographer.toml"
    own.write_text(
        'purpose = "Looks at maps."\ncapabilities = ["map_reading"]\nservers = ["gate"]\n'
        'slots = 2\npriorities = ["P2"]\nmemory = "1GiB"\nwarm = {min = 0, max = 1, idle = 9}\n'
    )
    shown = place.omx("agents", "templates", "cartographer", OMX_TEMPLATES=str(folder))
    assert "P2 (P0 and P1 and P3 left to others)" in shown.out
    own.write_text("slots = 2\n")
    refused = place.omx("agents", "templates", OMX_TEMPLATES=str(folder))
    assert refused.code == 2
    assert f"{own}: purpose: is missing" in refused.err


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_a_capability_that_nobody_offers_is_told_before_anything_starts(place, gate, command):
    graph = place.graph(gate.graph(requires=["code_revue"]))
    refused = place.omx(command, graph)
    assert refused.code == 2
    assert "requires 'code_revue', which no template offers. Did you mean" in refused.err
    assert "starting one" not in refused.err


def test_a_template_that_there_is_not_is_told_with_who_does_its_work(place):
    for name, said in {"codr": "Did you mean 'coder'?", "swarm-pr": "take pr-manager"}.items():
        refused = place.omx("agents", "templates", name)
        assert refused.code == 2
        assert said in refused.err
