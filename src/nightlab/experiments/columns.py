"""What the columns of somebody else's rows mean: by their names, by what stands in them, or because a person said so.

A column that none of this reaches is kept as it is, under `rest`: no column disappears.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]

NAMES: dict[str, tuple[str, ...]] = {
    "id": ("key", "id", "sample_id", "request_id", "uuid"),
    "model": ("model", "model_name", "model_id"),
    "condition": ("condition", "config", "config_name", "adapter", "variant"),
    "prompt": ("prompt_name", "prompt_id", "name"),
    "asked": ("messages", "prompt", "prompt_text", "question", "input"),
    "text": ("text", "completion", "output", "answer", "response", "completions", "outputs", "responses"),
    "category": ("category", "prompt_category"),
    "scores": ("scores", "ratings"),
    "judge": ("judge", "judge_model", "rater"),
}
PLAIN = ("finish_reason", "prompt_tokens", "completion_tokens", "seed", "t", "timestamp")
"""Columns of a sample that keep their name and their value."""
_DIMENSION, _SCORE = ("dimension", "metric", "criterion", "trait"), ("score", "rating", "value")
"""One score in each row: the column that names it, and the one that holds it."""
_MEASURES = (
    *("temperature", "top_p", "top_k", "max_tokens", "total_tokens", "tokens", "n_tokens", "length", "latency"),
    *(
        "latency_ms",
        "latency_s",
        "duration",
        "elapsed",
        "time",
        "cost",
        "usd",
        "price",
        "index",
        "idx",
        "row",
        "number",
    ),
    *("replicate", "repeat", "run", "run_id", "attempt", "trial", "step", "epoch", "batch", "position", "version"),
)
"""Columns of numbers that are no scores."""


def first(row: Row, name: str) -> Any:
    """What a row has under one of the names for something; None where it has none."""
    return next((row[column] for column in NAMES[name] if row.get(column) is not None), None)


def number(value: object) -> float | None:
    """A score as a number: of a number, of its text, or of `{"score": number, ...}`; None for anything else."""
    if isinstance(value, Mapping):
        return next((number(value[name]) for name in _SCORE if name in value), None)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):  # no number, or an integer beyond all of them
        return None
    return found if math.isfinite(found) else None


def parts_of(row: Row, bare: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts of a row by our names, its scores among them, and the columns that are none of them.

    `bare` are the columns that hold scores though their names do not say so.
    """
    parts = {name: found for name in NAMES if (found := first(row, name)) is not None}
    taken = {column for name in parts for column in NAMES[name] if row.get(column) is parts[name]}
    scores, used = _scores(row, parts.get("scores"), bare)
    parts.pop("scores", None)
    if scores:
        parts["scores"] = scores
        taken |= used
    elif not used:
        taken -= set(NAMES["scores"])
    if "text" in parts:
        plain = {name: row[name] for name in PLAIN if isinstance(row.get(name), str | int | float)}
        parts |= plain
        taken |= set(plain)
    return parts, {name: value for name, value in row.items() if name not in taken and value is not None}


def bare_scores(rows: Iterable[Row]) -> list[str]:
    """The columns of a file that must be scores: numbers in every row that has an id, and neither prompt nor answer."""
    about = [row for row in rows if _is_about(row)]
    known = {*(column for columns in NAMES.values() for column in columns), *PLAIN, *_MEASURES, "category"}
    names = dict.fromkeys(name for row in about for name in row if name.lower() not in known)
    return [name for name in names if _numbers(about, name)]


def numbers_beside(rows: Iterable[Row]) -> list[str]:
    """The columns of numbers that rows keep beside what is known of them; a person may know them as scores."""
    rests = list(rows)
    names = dict.fromkeys(name for rest in rests for name in rest if name.lower() not in _MEASURES)
    return [name for name in names if _numbers(rests, name)]


def _is_about(row: Row) -> bool:
    """Whether a row says something about a sample that stands elsewhere, and has no scores by name."""
    long = any(name in row for name in _DIMENSION) and any(name in row for name in _SCORE)
    named = first(row, "scores") is not None or long or any(_dimension(name) for name in row)
    return first(row, "id") is not None and first(row, "text") is None and first(row, "asked") is None and not named


def _numbers(rows: Iterable[Row], name: str) -> bool:
    values = [row[name] for row in rows if row.get(name) is not None]
    return any(number(value) is not None for value in values) and all(
        number(value) is not None or str(value).strip().lower() in ("", "na", "n/a", "nan", "none", "null")
        for value in values
    )


def _scores(row: Row, named: object, bare: Collection[str]) -> tuple[dict[str, Any], set[str]]:
    """The scores of a row by dimension as they stand there, and the columns they came from."""
    if isinstance(named, str):
        try:
            named = json.loads(named)
        except ValueError:
            named = None
    found: dict[str, Any] = dict(named) if isinstance(named, Mapping) else {}
    used = {column for column in NAMES["scores"] if row.get(column) is not None} if found else set()
    for column, value in row.items():
        name = column if column in bare else _dimension(column)
        if name and name not in found:
            found[name] = value
            used.add(column)
    which = next((column for column in _DIMENSION if isinstance(row.get(column), str)), None)
    held = next((column for column in _SCORE if column in row), None)
    if not found and which and held:
        return {str(row[which]): row[held]}, {which, held}
    return found, used


def _dimension(column: str) -> str:
    """The dimension in a column's name: `score_wit` or `wit_score`; empty for another name."""
    inner = column.removeprefix("score_") if column.startswith("score_") else column.removesuffix("_score")
    return inner if inner != column else ""
