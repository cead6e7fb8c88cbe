"""The rows of judgments.jsonl: which of them count, and that none stands there twice.

A judgment names its batch. A batch whose known items were scored wrongly is rejected: its rows stay, each with the
reason under `rejected`, and do not count. Nor do rows that were marked later (experiments/marks.py). Rows of a second
judge (`role: second`) measure agreement and are no scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nightlab.errors import StorageError
from nightlab.experiments.marks import Marks
from nightlab.files import JsonLines

JUDGMENTS = "judgments.jsonl"
FIRST, SECOND = "first", "second"


def stands(row: Mapping[str, Any]) -> bool:
    """Whether a judgment was not rejected with its batch."""
    return "rejected" not in row


def counts(row: Mapping[str, Any]) -> bool:
    """Whether a judgment is a score of its sample: not rejected, and not a second judge's."""
    return stands(row) and row.get("role", FIRST) == FIRST


def name_of(row: Mapping[str, Any]) -> tuple[object, ...]:
    """What no two judgments share: cell, judge, repeat and rubric, and the batch where that was rejected."""
    own = (str(row.get("key")), str(row.get("judge")), int(row.get("repeat", 0)), str(row.get("rubric")))
    return own if stands(row) else (*own, str(row.get("batch")))


def read_judgments(folder: Path) -> Iterator[dict[str, Any]]:
    """All judgments of an experiment folder that nobody marked, rejected ones too.

    Raises StorageError for one that stands there twice.
    """
    path = folder / JUDGMENTS
    for found in Marks.read(folder).sift("judgments", JsonLines(path).read(), name_of):
        if found.again:
            name = name_of(found.row)
            raise StorageError(
                f"the judgment of {name[0]} by {name[1]} stands there twice", where=f"{path}:{found.line}"
            )
        if found.struck is None:
            yield found.row
