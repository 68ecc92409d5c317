"""The example server: what the start page promises, and nothing outside its folder."""

from __future__ import annotations

import pytest

from omx_tasks.examples.folder import SAMPLE, Folder, OutsideError
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.session import Session


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "notes"
    (root / "sub").mkdir(parents=True)
    (root / "a.md").write_text("One line\nand Another")
    (root / "sub" / "b.md").write_text("deep")
    (tmp_path / "secret.md").write_text("secret")
    (root / "link.md").symlink_to(tmp_path / "secret.md")
    return Folder(root, tmp_path / "out")


def test_there_are_eight_sample_notes():
    assert len(Folder(SAMPLE, SAMPLE).notes(".").notes) == 8


def test_a_note_is_read_with_and_without_its_ending(folder):
    assert folder.note(".", "a").text == folder.note(".", "a.md").text
    assert folder.note(".", "a").words == 4
    assert folder.note("sub", "b").name == "b.md"


def test_search_finds_lines_in_any_case(folder):
    assert [match.line for match in folder.search(".", "ANOTHER").matches] == [2]


@pytest.mark.parametrize(
    ("where", "name"),
    [(".", "../secret.md"), ("..", "secret.md"), (".", "/etc/passwd"), (".", "link.md")],
)
def test_a_path_that_leads_outside_is_refused(folder, where, name):
    with pytest.raises(OutsideError, match="leads out"):
        folder.note(where, name)


def test_a_missing_note_says_which_there_are(folder):
    with pytest.raises(OutsideError, match=r"a\.md"):
        folder.note(".", "z")


def test_a_brief_is_written_below_out_and_is_no_note(tmp_path):
    folder = Folder(tmp_path, tmp_path)
    brief = folder.write_brief("text", 3, ".")
    assert brief.path == str(tmp_path / "brief.md")
    assert "text" in (tmp_path / "brief.md").read_text()
    assert folder.notes(".").notes == []
    with pytest.raises(OutsideError):
        folder.write_brief("text", 3, "..")


def test_the_server_offers_annotated_tools_a_resource_and_a_prompt(
    run, agent, module, tmp_path, fails
):
    (tmp_path / "a.md").write_text("alpha")

    async def scenario():
        config = module("omx_tasks.examples.notes", str(tmp_path))
        session = await Session.open(config, deadline=60, agent=agent)
        listed = await call(session, "tool", "list_notes", {"folder": "."}, timeout=60)
        brief = await call(session, "tool", "write_brief", {"text": "t", "count": 1}, timeout=60)
        error = await fails(
            call(session, "tool", "read_note", {"folder": "..", "name": "x"}, timeout=60)
        )
        offered = session.description
        await session.close()
        return listed, brief, error, offered

    listed, brief, error, offered = run(scenario())
    assert [note["name"] for note in listed["structured"]["notes"]] == ["a.md"]
    assert brief["structured"] == {"path": str(tmp_path / "brief.md"), "count": 1}
    assert error.kind == "tool"
    assert "leads out of the folder" in error.message
    hints = {tool["name"]: tool["annotations"] for tool in offered["tools"]}
    assert [name for name, hint in hints.items() if hint["readOnlyHint"]] == [
        "list_notes",
        "read_note",
        "search_notes",
    ]
    assert hints["write_brief"]["readOnlyHint"] is False
    assert [resource["uri"] for resource in offered["resources"]] == ["notes://guide"]
    assert [template["uriTemplate"] for template in offered["resourceTemplates"]] == [
        "notes://{name}"
    ]
    assert offered["prompts"][0]["arguments"][0]["required"] is True
