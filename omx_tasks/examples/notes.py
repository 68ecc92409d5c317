"""The example server ``notes``: a folder of Markdown notes as MCP tools, resources and a prompt.

Run as ``python -m omx_tasks.examples.notes [FOLDER] [--out FOLDER]``, over standard input and
output. Without a folder it offers the eight sample notes that are shipped with it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp_types import ToolAnnotations

from omx_tasks.examples.folder import (
    SAMPLE,
    Brief,
    Folder,
    Matches,
    Note,
    Notes,
    OutsideError,
)

READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
# Writing the same brief twice leaves the same file, which replaces an earlier one.
WRITES = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)

GUIDE = """\
# How to write a brief

1. List the notes of a folder (`list_notes`), then read each one (`read_note`).
2. Say in one sentence what the notes are about.
3. Then what is to be done, soonest first, each with the note it comes from.
4. Leave out what has no date and no consequence.
5. Hand the text and the number of notes to `write_brief`.

A brief fits on one page. It is written to `brief.md`, which is never listed as a note.
"""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def build(folder: Folder) -> MCPServer[None]:
    """Return the server for a folder of notes; nothing runs yet."""
    server: MCPServer[None] = MCPServer(
        "notes",
        version="1.0",
        instructions="Notes of a kitchen garden, or of any folder of Markdown files.",
        log_level="WARNING",
    )
    _add_readers(server, folder)
    _add_writer(server, folder)
    _add_resources(server, folder)
    _add_prompt(server)
    return server


def _add_readers(server: MCPServer[None], source: Folder) -> None:
    @server.tool(annotations=READS)
    @_plainly
    def list_notes(folder: str = ".") -> Notes:
        """List the notes of a folder, which is relative to the server's own."""
        return source.notes(folder)

    @server.tool(annotations=READS)
    @_plainly
    def read_note(name: str, folder: str = ".") -> Note:
        """Read one note."""
        return source.note(folder, name)

    @server.tool(annotations=READS)
    @_plainly
    def search_notes(word: str, folder: str = ".") -> Matches:
        """Find every line of a folder's notes that contains a word."""
        return source.search(folder, word)


def _add_writer(server: MCPServer[None], target: Folder) -> None:
    @server.tool(annotations=WRITES)
    @_plainly
    def write_brief(text: str, count: int, folder: str = ".") -> Brief:
        """Write a brief of ``count`` notes to ``brief.md``, over an earlier one."""
        return target.write_brief(text, count, folder)


def _add_resources(server: MCPServer[None], source: Folder) -> None:
    @server.resource("notes://guide", mime_type="text/markdown")
    async def guide() -> str:
        """How to write a brief."""
        return GUIDE

    @server.resource("notes://{name}", mime_type="text/markdown")
    async def note(name: str) -> str:
        """One note of the server's own folder."""
        try:
            return source.note(".", name).text
        except OutsideError as error:
            raise ResourceNotFoundError(str(error)) from error


def _add_prompt(server: MCPServer[None]) -> None:
    @server.prompt()
    def brief(topic: str) -> str:
        """Ask for a brief of the notes on a topic."""
        return (
            f"Read the notes that concern {topic} and write a brief of at most ten lines: "
            "what is to be done, soonest first, each line naming its note."
        )


def _plainly(function: Callable[_P, _R]) -> Callable[_P, Coroutine[Any, Any, _R]]:
    """Tell the caller what is wrong with a path, instead of a bare failure.

    The result is a coroutine function, because a thread per call costs more than a short file.
    """

    @wraps(function)
    async def plain(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except OutsideError as error:
            raise ToolError(str(error)) from error
        except OSError as error:
            raise ToolError(f"{error.filename}: {error.strerror}") from error

    return plain


def main(arguments: list[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="notes", description="MCP server for a folder of notes")
    parser.add_argument("folder", nargs="?", type=Path, help="default: eight sample notes")
    parser.add_argument("--out", type=Path, help="where briefs go; default: FOLDER")
    chosen = parser.parse_args(arguments)
    root = chosen.folder or SAMPLE
    if not root.is_dir():
        parser.error(f"{root} is not a folder")
    out = chosen.out or chosen.folder or Path.home() / ".local" / "share" / "omx" / "notes"
    build(Folder(root, out)).run()


if __name__ == "__main__":
    main()
