"""The shipped templates, a user's own, and which servers of a file an agent of one holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omx_tasks import settings
from omx_tasks.agents import profile, templates
from omx_tasks.agents.templates import EVERYTHING, LEFT_OUT
from omx_tasks.errors import ConfigurationError, NotFoundError
from omx_tasks.mcp import config
from omx_tasks.mcp.config import ServerFile
from omx_tasks.priorities import Priority

ROLES = {
    *("browser", "database", "fetch", "filesystem", "git", "github", "memory", "search", "time"),
}
GOOD = """
purpose = "Looks at maps."
capabilities = ["map_reading"]
servers = ["maps"]
slots = 4
priorities = ["P1", "P2"]
memory = "1.5GiB"
warm = {min = 0, max = 2, idle = 60}
"""


def test_there_are_54_and_none_of_them_lacks_anything() -> None:
    catalogue = templates.load()
    assert len(catalogue) == 54
    assert not LEFT_OUT.keys() & catalogue.keys()
    for template in catalogue.values():
        assert set(template.servers) <= ROLES, template.name
        # Operations without a priority are P2: who does not serve it would serve hardly anything.
        assert Priority.P2 in template.priorities, template.name
        assert template.purpose.endswith("."), template.name
        assert 2**28 <= template.memory <= 2**31, template.name
    purposes = {template.purpose for template in catalogue.values()}
    assert len(purposes) == 54


def test_who_is_left_out_is_replaced_by_templates_that_there_are() -> None:
    catalogue = templates.load()
    for name, (instead, _) in LEFT_OUT.items():
        assert all(other in catalogue for other in instead)
        with pytest.raises(NotFoundError, match=f"{name} is no template: take {instead[0]}"):
            catalogue.find(name)


def own(folder: Path, text: str, name: str = "cartographer") -> Path:
    (folder / f"{name}.toml").write_text(text)
    return folder


MISTAKES = [
    (GOOD + "slotz = 3\n", "slotz: is no key of a template. Did you mean 'slots'?"),
    (GOOD.replace("slots = 4\n", ""), "slots: is missing"),
    (GOOD.replace("slots = 4", 'slots = "4"'), "slots: Input should be a valid integer"),
    (GOOD.replace("idle = 60", "idl = 60"), "warm.idl: is no key of a template. Did you mean"),
    (GOOD.replace("max = 2", "max = 2, most = 1"), "There are: min, max, idle"),
    (GOOD.replace("min = 0", "min = 3"), "warm: min (3) is above max (2)"),
    (GOOD.replace("map_reading", "map-reading"), "capabilities: 'map-reading' is not in snake"),
    (GOOD.replace('["map_reading"]', "[]"), "capabilities: write a list of at least one text"),
    (GOOD.replace('"maps"', '"maps", "maps"'), "servers: 'maps' is given twice"),
    (GOOD.replace('"maps"', '"a,b"'), "servers: 'a,b' cannot be the name of a server"),
    (GOOD.replace("P1", "P7"), "priorities: 'P7' is no priority"),
    (GOOD.replace('"1.5GiB"', "512"), 'memory: write a number and its unit, as in "512MiB"'),
    (GOOD + 'name = "x"\n', "name: leave it out"),
    (GOOD + "replaces = true\n", "replaces: there is no shipped template of that name"),
    ("purpose = ", "not TOML"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_is_told_with_its_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        templates.load(own(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path / 'cartographer.toml'}: ")
    assert said in str(caught.value)


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        templates.load(own(tmp_path, GOOD.replace("slots = 4", "slots = 0\nx = 1")))
    assert len(str(caught.value).splitlines()) == 2


def test_an_own_template_adds_to_the_shipped_ones_and_its_words_to_theirs(tmp_path: Path) -> None:
    catalogue = templates.load(own(tmp_path, GOOD))
    assert len(catalogue) == 55
    assert catalogue["cartographer"].memory == 1.5 * 2**30
    assert {"map_reading", "code_review"} <= catalogue.words


def test_a_shipped_template_is_replaced_only_by_one_that_says_so(tmp_path: Path) -> None:
    own(tmp_path, GOOD, "coder")
    with pytest.raises(ConfigurationError, match="rename it, or say `replaces = true`"):
        templates.load(tmp_path)
    folder = tmp_path / "better"
    folder.mkdir()
    catalogue = templates.load(own(folder, GOOD + "replaces = true\n", "coder"))
    assert len(catalogue) == 54
    assert catalogue["coder"].servers == ("maps",)


@pytest.mark.parametrize("name", ["Coder", "my_coder", EVERYTHING])
def test_a_file_whose_name_is_no_templates_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a template's name"):
        templates.load(own(tmp_path, GOOD, name))


def test_a_folder_that_is_not_there_or_has_no_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        templates.load(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"has no file \*.toml"):
        templates.load(tmp_path)


def servers(folder: Path, **roles: list[str]) -> ServerFile:
    entries = {name: {"command": "x", "omx": {"roles": fills}} for name, fills in roles.items()}
    path = folder / "mcp.json"
    path.write_text(json.dumps({"mcpServers": entries}))
    return config.load(path)


def test_a_role_is_filled_by_the_server_of_that_name_and_by_those_that_name_it(
    tmp_path: Path,
) -> None:
    file = servers(tmp_path, git=[], disk=["filesystem"], other=["filesystem", "x"], time=[])
    made = profile.fitted(templates.load()["coder"], file)
    assert made.servers == {"git", "disk", "other"}
    assert made.unfilled == ("memory",)
    assert made.words == set(templates.load()["coder"].capabilities)
    assert made.slots == 16


def test_an_agent_that_could_call_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'"omx": {"roles": \["filesystem"\]}'):
        profile.fitted(templates.load()["coder"], servers(tmp_path, time=[]))


@pytest.mark.parametrize(
    ("environ", "template", "slots"),
    [
        ({}, EVERYTHING, 32),
        ({"OMX_SLOTS": "5"}, EVERYTHING, 5),
        ({"OMX_TEMPLATE": "coder"}, "coder", 16),
        ({"OMX_TEMPLATE": "coder", "OMX_SLOTS": "5"}, "coder", 5),
        ({"OMX_TEMPLATE": EVERYTHING}, EVERYTHING, 32),
    ],
)
def test_what_an_agent_is_follows_from_the_settings(
    tmp_path: Path, environ: dict[str, str], template: str, slots: int
) -> None:
    made = profile.of_settings(settings.load(environ), servers(tmp_path, git=[], time=[]))
    assert (made.template, made.slots) == (template, slots)
    assert made.servers == ({"git"} if template == "coder" else {"git", "time"})
    assert (made.words == templates.load().words) is (template == EVERYTHING)


def test_a_template_that_there_is_not_is_told_with_the_nearest(tmp_path: Path) -> None:
    given = settings.load({"OMX_TEMPLATE": "codr"})
    with pytest.raises(NotFoundError, match="Did you mean 'coder'"):
        profile.of_settings(given, servers(tmp_path, git=[]))
