"""What a judge that reads is asked for, and what of its answer is a verdict: every dimension, a number in its range or
null, for every packet it was shown, once. Anything else is a fault that is named, sent back, and in the end NA.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nightlab.experiments.rubric import Dimension, Rubric
from nightlab.judging.judge import Verdict
from nightlab.judging.packet import Packet

SHOWN = 60
LONGEST_NOTE = 600
NO_JSON = "the answer is no JSON object with `verdicts`"


def answer_schema(rubric: Rubric) -> dict[str, Any]:
    """The JSON schema of an answer; grammars enforce types and names, not ranges."""
    score = {"anyOf": [{"type": "number"}, {"type": "null"}]}
    names = list(rubric.dimensions)
    one = _object({"id": {"type": "string"}, "scores": _object(dict.fromkeys(names, score)), "notes": _notes(names)})
    return _object({"verdicts": {"type": "array", "items": one}})


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _notes(names: Sequence[str]) -> dict[str, Any]:
    return _object({name: {"type": "string"} for name in names})


def instructions(prompt: str, rubric: Rubric) -> str:
    """The constant part of every request: how to judge, then the rubric as people read it."""
    parts = [prompt, f"# The rubric: {rubric.name}, version {rubric.version}", _dimensions(rubric), rubric.body]
    return "\n\n".join(part for part in parts if part)


def _dimensions(rubric: Rubric) -> str:
    lines = []
    for name, dimension in rubric.dimensions.items():
        low, high = dimension.range
        lines.append(f"- `{name}`, from {low:g} to {high:g}: {dimension.question}")
        lines += [f"  - {number:g}: {text}" for number, text in sorted(dimension.anchors.items())]
    return "\n".join(lines)


def shown(packets: Sequence[Packet]) -> str:
    """The packets as a judge gets them: their exact payloads in one list."""
    return '{"packets":[' + ",".join(packet.payload.decode("utf-8") for packet in packets) + "]}"


def complaint(faults: Mapping[str, str]) -> str:
    """What is sent back where verdicts are not valid."""
    lines = [f"- {name}: {what}" for name, what in faults.items()]
    return (
        "These packets have no valid verdict yet:\n"
        + "\n".join(lines)
        + "\nAnswer again in the same form, for these packets only."
    )


def read_verdicts(
    text: str, packets: Sequence[Packet], rubric: Rubric, request: str = ""
) -> tuple[dict[str, Verdict], dict[str, str]]:
    """The valid verdicts of an answer by packet id, and a fault for each packet that has none."""
    rows = _rows(text)
    if rows is None:
        return {}, dict.fromkeys((packet.id for packet in packets), NO_JSON)
    given = Counter(str(row.get("id")) for row in rows)
    by_id = {str(row.get("id")): row for row in rows}
    verdicts: dict[str, Verdict] = {}
    faults: dict[str, str] = {}
    for packet in packets:
        if given[packet.id] != 1:
            faults[packet.id] = "it stands there twice" if given[packet.id] else "it has no verdict"
        elif fault := _fault(by_id[packet.id].get("scores"), rubric):
            faults[packet.id] = fault
        else:
            verdicts[packet.id] = _verdict(by_id[packet.id], rubric, request)
    return verdicts, faults


def not_available(rubric: Rubric, why: str, request: str = "") -> Verdict:
    """A verdict without any score, and why: never a zero."""
    return Verdict(dict.fromkeys(rubric.dimensions), {"na": why}, request)


def _rows(text: str) -> list[dict[str, Any]] | None:
    start, end = text.find("{"), text.rfind("}")
    try:
        data = json.loads(text[start : end + 1]) if start >= 0 else None
    except (ValueError, RecursionError):
        return None
    rows = data.get("verdicts") if isinstance(data, dict) else None
    good = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    return rows if good else None


def _fault(scores: object, rubric: Rubric) -> str | None:
    if not isinstance(scores, dict):
        return "its `scores` are no object"
    for name in scores:
        if name not in rubric.dimensions:
            return f"it scores {str(name)[:SHOWN]!r}, which is no dimension of the rubric"
    for name, dimension in rubric.dimensions.items():
        if name not in scores:
            return f"it has no `{name}`"
        if fault := _bad_score(name, scores[name], dimension):
            return fault
    return None


def _bad_score(name: str, score: object, dimension: Dimension) -> str | None:
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float):
        return f"its `{name}` is {str(score)[:SHOWN]!r}, neither a number nor null"
    if not math.isfinite(score) or not dimension.holds(score):
        low, high = dimension.range
        return f"its `{name}` is {score:g}, outside of {low:g} to {high:g}"
    return None


def _verdict(row: Mapping[str, Any], rubric: Rubric, request: str) -> Verdict:
    scores = {name: row["scores"][name] for name in rubric.dimensions}
    notes: dict[str, object] = {}
    said = row.get("notes")
    if isinstance(said, dict):
        notes["quotes"] = {name: str(said[name])[:LONGEST_NOTE] for name in rubric.dimensions if said.get(name)}
    if None in scores.values():
        notes["na"] = "the judge gave no score"
    return Verdict(scores, notes, request)
