"""What each row says of how it was asked and judged, against the frozen plan: model, seed, words, length and rubric.

A cell's key is the hash of all this, so a row that says something else was changed, or was written by another program.
Limits: imported rows (`origin`) were asked under no plan of ours, and only their rubrics are compared. Where a plan
names no model for its judge, agents/judge.md does, and judges are compared with one another only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from nightlab.evidence.table import Table
from nightlab.experiments.cells import Cell
from nightlab.experiments.rubric import SHA_DIGITS


def find_asked(table: Table) -> Iterator[str]:
    """One text for each way in which answers of a model were asked otherwise than planned."""
    found = Counter(
        (cell.model, text)
        for cell, fate in zip(table.cells, table.fates, strict=True)
        if fate.sample is not None and "origin" not in fate.sample
        for text in _otherwise(cell, fate.sample)
    )
    yield from (f"{model}: {count} answers {text}" for (model, text), count in found.items())


def _otherwise(cell: Cell, row: Mapping[str, Any]) -> Iterator[str]:
    request = cell.request
    if row.get("model_id") != cell.model_id:
        yield f"say they are of {row.get('model_id')}, not of the planned model"
    if row.get("seed") != cell.seed:
        yield "were sampled under another seed than the planned one"
    if [row.get("raw"), row.get("messages")] != [request.get("raw"), request.get("messages")]:
        yield "were asked in other words than those of the frozen prompt"
    if int(row.get("completion_tokens") or 0) > request["max_tokens"]:
        yield f"are longer than the planned {request['max_tokens']} tokens"


def find_judged(table: Table) -> Iterator[str]:
    """One text for each way in which judgments were made otherwise than planned."""
    frozen = str(table.design.lock.document["rubric"])[:SHA_DIGITS]
    judgments = [row for rows in table.rows.judgments.values() for row in rows]
    rubrics, judges = (Counter(str(row.get(field)) for row in judgments) for field in ("rubric", "judge"))
    for name, count in rubrics.items():
        if name != frozen:
            yield f"{count} judgments were made under the rubric {name}, not under the frozen {frozen}"
    spec = table.design.config.judge
    planned = "markers" if spec.by == "markers" else spec.model
    if planned is not None:
        others = {name: count for name, count in judges.items() if name != planned}
        yield from (f"{n} judgments were made by {name}, not by the frozen {planned}" for name, n in others.items())
    elif len(judges) > 1:
        listed = ", ".join(f"{name} ({count})" for name, count in judges.items())
        yield f"judgments were made by {len(judges)} different judges: {listed}"
    repeats = table.design.config.judge.repeats
    short = sum(1 for fate in table.fates if fate.judgments and len({r["repeat"] for r in fate.judgments}) < repeats)
    if short:
        yield f"{short} answers were judged less often than the planned {repeats} times"
