"""marks.jsonl: which rows of an experiment no longer count, and why. Nothing is ever deleted for it.

A line marks rows of one file by their names: `{"v": 1, "t": time, "target": "samples" or "judgments", "names": [[key]
or [key, judge, repeat, rubric, ...]], "chosen": {"server": ...}, "why": text, "by": who}`. Each mark of a name strikes
one row of that name, the oldest that still counts: so a cell that was marked may be asked again, the new row (the next
line with that key) counts, and a row that stands there once more than it was marked is damage, as ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nightlab.errors import StorageError
from nightlab.files import JsonLines, now

MARKS = "marks.jsonl"
VERSION = 1

Target = Literal["samples", "judgments"]
Name = tuple[object, ...]
Row = dict[str, Any]


@dataclass(frozen=True)
class Mark:
    """Rows of one file that no longer count: their names, why, by whom, and how they were chosen."""

    target: Target
    names: tuple[Name, ...]
    why: str
    by: str
    chosen: Mapping[str, str] = field(default_factory=dict)
    t: str = ""

    def document(self) -> dict[str, Any]:
        """The mark as a line of the file."""
        return {
            "v": VERSION,
            "t": self.t or now(),
            "target": self.target,
            "names": [list(name) for name in self.names],
            "chosen": dict(self.chosen),
            "why": self.why,
            "by": self.by,
        }


@dataclass(frozen=True)
class Sifted:
    """A row with its line, and why it no longer counts (None: it counts); `again` where it stands there once too
    often.
    """

    line: int
    row: Row
    struck: str | None
    again: bool


class Marks:
    """The marks of one experiment folder as they were when this was made."""

    def __init__(self, marks: Sequence[Mark] = (), path: Path | None = None) -> None:
        self.all = tuple(marks)
        self.path = path
        self._why: dict[Target, dict[Name, list[str]]] = {"samples": {}, "judgments": {}}
        for mark in self.all:
            struck = self._why[mark.target]
            for name in mark.names:
                struck.setdefault(name, []).append(mark.why)

    @classmethod
    def read(cls, folder: Path) -> Marks:
        """The marks of a folder; none where there is no file. Raises StorageError for a line that is no mark."""
        path = folder / MARKS
        rows = enumerate(JsonLines(path).read(), 1)
        return cls([_mark(row, f"{path}:{number}") for number, row in rows], path)

    def of(self, target: Target) -> bool:
        """Whether rows of a file were marked."""
        return bool(self._why[target])

    def sift(self, target: Target, rows: Iterable[Row], name_of: Callable[[Row], Name]) -> Iterator[Sifted]:
        """All rows, oldest first, each with what the marks say of it.

        Raises StorageError at the end where a row that was marked is not there any more.
        """
        why = self._why[target]
        seen: dict[Name, int] = {}
        for line, row in enumerate(rows, 1):
            name = name_of(row)
            place = seen[name] = seen.get(name, -1) + 1
            struck = why.get(name, ()) if why else ()
            yield Sifted(line, row, struck[place] if place < len(struck) else None, place > len(struck))
        gone = [name for name, reasons in why.items() if seen.get(name, -1) + 1 < len(reasons)]
        if gone:
            what = f"{len(gone)} marked rows are missing from {target}.jsonl, the first is {gone[0][0]}"
            raise StorageError(what, where=self.path, hint="marked rows stay where they are: restore them from git")


def sample_name(row: Mapping[str, Any]) -> Name:
    """What names a sample: the key of its cell."""
    return (row.get("key"),)


def add_marks(folder: Path, marks: Sequence[Mark]) -> None:
    """Append marks with one durable write: after a crash all of them stand there, or none. Raises StorageError."""
    store = JsonLines(folder / MARKS)
    with contextlib.closing(store):
        store.append_many([mark.document() for mark in marks if mark.names])


@contextlib.contextmanager
def marking(folder: Path) -> Iterator[Marks]:
    """The marks of a frozen experiment, while no other process of this machine adds some."""
    from nightlab.experiments.lock import LOCK

    fd = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield Marks.read(folder)
    finally:
        os.close(fd)


def _mark(row: Row, where: str) -> Mark:
    if row.get("v") != VERSION or row.get("target") not in ("samples", "judgments"):
        hint = f"known here: version {VERSION}, samples or judgments; a newer nightlab may have written it"
        raise StorageError("a line that is no mark", where=where, hint=hint)
    try:
        names = tuple(tuple(name) for name in row["names"])
        return Mark(row["target"], names, str(row["why"]), str(row["by"]), dict(row.get("chosen", {})), str(row["t"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError("a line that is no mark", where=where, hint="restore the file from git") from error
