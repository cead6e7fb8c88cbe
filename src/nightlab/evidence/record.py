"""record.json: the hash of everything that a report was made from and of everything that was made with it.

Written with the report and committed with it. An audit compares it with the files, and with what git remembers: rows
that were taken away, swapped or typed in afterwards do not fit it. It is no signature: who changes the files, the
record and the history together is not found by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nightlab import __version__
from nightlab.errors import StorageError
from nightlab.files import sha256_file, write_atomic

FILE = "record.json"
ROWS = ("samples.jsonl", "failures.jsonl", "judgments.jsonl", "marks.jsonl", "withdrawn.jsonl")
GIVEN = ("config.yaml", "rubric.md", "plan.lock.json", "power.json", "evidence.json", "report.md.j2")
MADE = ("claims.yaml", "report.md", "reproduce.py")
DRAWN_BY = ("matplotlib", "numpy")
"""The packages whose version may change the bytes of a figure."""


@dataclass(frozen=True)
class Record:
    """The hashes by path: of rows (with how many there were), of what else was given, and of what was made."""

    nightlab: str
    versions: dict[str, str]
    rows: dict[str, tuple[int, str]]
    given: dict[str, str]
    made: dict[str, str]

    @property
    def draws_alike(self) -> bool:
        """Whether this process would draw the same bytes from the same numbers."""
        return self.versions == _versions() and self.nightlab == __version__


def write_record(folder: Path) -> Path:
    """Write record.json of an experiment folder as it is now."""
    document: dict[str, Any] = {
        "v": 1,
        "nightlab": __version__,
        "versions": _versions(),
        "rows": {name: digest(folder / name) for name in ROWS if (folder / name).is_file()},
        "given": {str(path.relative_to(folder)): sha256_file(path) for path in _given(folder)},
        "made": {str(path.relative_to(folder)): sha256_file(path) for path in made(folder)},
    }
    path = folder / FILE
    write_atomic(path, json.dumps(document, indent=1, sort_keys=True) + "\n")
    return path


def read_record(folder: Path) -> Record | None:
    """The record of an experiment folder, or None where no report was made. Raises StorageError for a damaged one."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
        rows = {str(name): (int(row["rows"]), str(row["sha256"])) for name, row in found["rows"].items()}
        return Record(str(found["nightlab"]), dict(found["versions"]), rows, dict(found["given"]), dict(found["made"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError("the record cannot be read", where=path, hint="restore it from git") from error


def digest(path: Path, first: int | None = None) -> dict[str, Any]:
    """How many whole lines a file of rows has, and their hash; with `first` of its first lines alone."""
    found, count = hashlib.sha256(), 0
    with path.open("rb") as source:
        for line in source:
            if not line.endswith(b"\n") or count == first:
                break
            found.update(line)
            count += 1
    return {"rows": count, "sha256": found.hexdigest()}


def made(folder: Path) -> list[Path]:
    """Every generated file that is there: tables, figures, claims, report, script."""
    found = [*sorted((folder / "tables").glob("*.csv")), *sorted((folder / "figs").glob("*.*"))]
    return [*found, *(folder / name for name in MADE if (folder / name).is_file())]


def _given(folder: Path) -> Iterator[Path]:
    yield from (folder / name for name in GIVEN if (folder / name).is_file())
    for place in ("prompts", "conditions"):
        yield from sorted(path for path in (folder / place).rglob("*.y*ml") if path.is_file())


def _versions() -> dict[str, str]:
    return {name: version(name) for name in DRAWN_BY}
