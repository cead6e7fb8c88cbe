"""A copy of a lab that a test may spoil, with its rows and tables as files."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Copy:
    """A lab that may be spoiled, and its experiment."""

    root: Path
    folder: Path

    def rows(self, name: str) -> list[Row]:
        """The rows of a file."""
        return [json.loads(line) for line in (self.folder / name).read_text("utf-8").splitlines()]

    def write_rows(self, name: str, rows: list[Row]) -> None:
        """Write rows as nightlab writes them."""
        text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
        (self.folder / name).write_text(text, "utf-8")

    def table(self, name: str) -> tuple[list[str], list[list[str]]]:
        """Header and rows of a csv."""
        header, *rows = csv.reader((self.folder / name).read_text("utf-8").splitlines())
        return header, rows

    def write_table(self, name: str, header: list[str], rows: list[list[str]]) -> None:
        """Write a csv as nightlab writes it."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([header, *rows])
        (self.folder / name).write_text(out.getvalue(), "utf-8")


def copied(source: Path, target: Path, experiment: str) -> Copy:
    """A fresh copy of a lab."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
    return Copy(target, target / "experiments" / experiment)
