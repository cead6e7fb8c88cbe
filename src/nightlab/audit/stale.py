"""Pictures that are older than the data they stand beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nightlab.audit.data import Data, Row
from nightlab.audit.finding import Finding, finding
from nightlab.audit.history import History


def stale(data: Data) -> Iterator[Finding]:
    """Findings about pictures of a folder that are older than the newest rows of the same experiment.

    In git the order of commits decides, since a checkout gives every file the same time; else the times of the files.
    """
    history = History(data.root)
    for picture in data.pictures:
        rows = [path for path in _around(picture, data) if _holds_rows(data.files[path], data)]
        if not rows:
            continue
        place = _place(picture, history)
        for path in rows:
            other = _place(path, history)
            known = place is not None and other is not None
            older = place < other if place is not None and other is not None else _mtime(picture) + 2 < _mtime(path)
            if older:
                what = f"this picture is older than {path.relative_to(data.root)}"
                evidence = "by the order of commits" if known else "by the times of the files"
                yield finding("stale", "error", picture, what, evidence=evidence, root=data.root)
                break


def _around(picture: Path, data: Data) -> list[Path]:
    """The files of rows of the same experiment: below the folder above the pictures' own."""
    top = picture.parent.parent if picture.parent != data.root else data.root
    return [path for path in data.files if path.is_relative_to(top)]


def _holds_rows(rows: list[Row], data: Data) -> bool:
    return len(rows) > 1 and any(row.text is not None or data.is_scored(row) for row in rows)


def _place(path: Path, history: History) -> int | None:
    """Where in the history a file was changed last; None where it is not in git, or changed since."""
    versions = history.versions(path)
    if not versions or history.content(path) != path.read_bytes():
        return None
    return versions[-1].place


def _mtime(path: Path) -> float:
    return path.stat().st_mtime
