"""A folder of short Markdown notes: listed, read, searched, and a brief written from them.

Nothing here knows MCP. Every path that comes from outside is relative to a root and stays in it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

BRIEF = "brief.md"
SAMPLE = Path(__file__).parent / "data"


class OutsideError(ValueError):
    """A path leads out of the folder that the server was given, or there is nothing at it."""


class NoteFile(BaseModel):
    """One note in a listing; ``modified`` in Unix seconds."""

    name: str
    bytes: int
    modified: int


class Notes(BaseModel):
    """All notes of a folder, by name."""

    notes: list[NoteFile]


class Note(BaseModel):
    """One note with its text and the number of its words."""

    name: str
    text: str
    words: int


class Match(BaseModel):
    """One line that contains a word; lines count from 1."""

    name: str
    line: int
    text: str


class Matches(BaseModel):
    """Every line of a folder's notes that contains ``word``."""

    word: str
    matches: list[Match]


class Brief(BaseModel):
    """Where a brief was written, and how many notes it sums up."""

    path: str
    count: int


class Folder:
    """Notes below ``root``; briefs go below ``out``."""

    def __init__(self, root: Path, out: Path) -> None:
        self.root = root.resolve()
        self.out = out.resolve()

    def notes(self, folder: str) -> Notes:
        """List the notes of a folder; an earlier brief is none."""
        return Notes(notes=[_entry(path) for path in self._files(folder)])

    def note(self, folder: str, name: str) -> Note:
        """Read one note; ``.md`` may be left out."""
        path = _inside(self._folder(folder), name)
        if not path.is_file() and not path.suffix:
            path = path.with_suffix(".md")
        if not path.is_file():
            known = ", ".join(file.name for file in self._files(folder)) or "none"
            raise OutsideError(f"there is no note {name!r} in {folder!r}; there are: {known}")
        text = path.read_text(encoding="utf-8")
        return Note(name=path.name, text=text, words=len(text.split()))

    def search(self, folder: str, word: str) -> Matches:
        """Find a word in all notes of a folder, whatever its case."""
        found = [
            Match(name=path.name, line=number, text=line.strip())
            for path in self._files(folder)
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if word.lower() in line.lower()
        ]
        return Matches(word=word, matches=found)

    def write_brief(self, text: str, count: int, folder: str) -> Brief:
        """Write ``brief.md``, over an earlier one."""
        target = _inside(self.out, folder)
        target.mkdir(parents=True, exist_ok=True)
        path = target / BRIEF
        path.write_text(f"# Brief of {count} notes\n\n{text}\n", encoding="utf-8")
        return Brief(path=str(path), count=count)

    def _folder(self, folder: str) -> Path:
        path = _inside(self.root, folder)
        if not path.is_dir():
            raise OutsideError(f"there is no folder {folder!r}")
        return path

    def _files(self, folder: str) -> list[Path]:
        found = self._folder(folder).glob("*.md")
        return sorted(path for path in found if path.name != BRIEF and path.is_file())


def _inside(root: Path, relative: str) -> Path:
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise OutsideError(f"{relative!r} leads out of the folder that this server may use")
    return path


def _entry(path: Path) -> NoteFile:
    seen = path.stat()
    return NoteFile(name=path.name, bytes=seen.st_size, modified=int(seen.st_mtime))
