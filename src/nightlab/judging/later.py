"""Batches of a judge that were believed when their judgments were written, and are not any more.

A judging that was cut off between a batch's judgments and its end asks again, and what it hears then may speak against
the batch; rules for known items may have become stricter since. The log has every known item as it was scored, so each
batch is looked at again at no cost. What follows for the judgments that count until now is night/late.py's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nightlab.experiments.gold import TOLERANCE
from nightlab.experiments.rubric import Rubric
from nightlab.judging.checks import Check, audit
from nightlab.judging.log import read_log
from nightlab.judging.rows import read_judgments, stands


def rejected_later(folder: Path, rubric: Rubric) -> dict[str, str]:
    """Why batches can no longer be believed, by batch: those alone of which judgments still count.

    Batches under another rubric are taken as they were closed. Raises StorageError.
    """
    counted = {str(row["batch"]) for row in read_judgments(folder) if "batch" in row and stands(row)}
    if not counted:
        return {}
    checks: dict[str, list[Check]] = defaultdict(list)
    closed: dict[str, Mapping[str, Any]] = {}
    tolerances = {item.id: item.tolerance for item in rubric.gold}
    for row in read_log(folder, "check", "closed"):
        if row["batch"] not in counted:
            continue
        if row["op"] == "closed":
            closed[row["batch"]] = row
        elif row["rubric"] == rubric.sha:
            checks[row["batch"]].append(_check(row, tolerances))
    found = {name: str(row.get("rejected") or audit(checks[name], rubric)) for name, row in closed.items()}
    return {name: why for name, why in found.items() if why}


def _check(row: Mapping[str, Any], tolerances: Mapping[str, float]) -> Check:
    names = ("kind", "ref", "packet", "position", "request", "expected", "scores")
    allowed = tolerances.get(row["ref"], TOLERANCE) if row["kind"] == "gold" else TOLERANCE
    return Check(**{name: row[name] for name in names}, tolerance=allowed)
