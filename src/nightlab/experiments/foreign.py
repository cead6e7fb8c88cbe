"""Rows of somebody else's scaffold, read as they are: JSONL, CSV, and the tree of one YAML file per sample.

What a row is called differs from scaffold to scaffold; NAMES says which columns mean what. A row becomes a sample (it
has a prompt and an answer), a judgment (it has scores and names a sample), or unfit, with the reason: every row that
was read is one of the three. In the tree only by_prompt/PROMPT/CONFIG/MODEL/*.yaml is read: the other by_* folders are
links to the same files, and are counted as such.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

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
_PLAIN = ("finish_reason", "prompt_tokens", "completion_tokens", "seed", "t", "timestamp", "temperature", "max_tokens")
MOST_BYTES = 4 << 20  # of one YAML file

Fit = Literal["sample", "judgment", "unfit", "link"]


@dataclass(frozen=True)
class Foreign:
    """A row as it was read: where it stood, what it is, its parts by our names; `why` where it is unfit."""

    where: str
    fit: Fit
    row: Mapping[str, Any]
    parts: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


def read_folder(folder: Path) -> Iterator[Foreign]:
    """Every row below a folder, in the order of the files' names."""
    for path in sorted(folder.rglob("*")):
        inner = str(path.relative_to(folder))
        if path.is_symlink():
            if path.suffix in (".yaml", ".yml"):
                yield Foreign(inner, "link", {}, why="a link to another file of the folder")
        elif path.is_file() and path.suffix == ".jsonl":
            yield from _lines(path, inner)
        elif path.is_file() and path.suffix == ".csv":
            yield from _table(path, inner)
        elif path.is_file() and path.suffix in (".yaml", ".yml") and "by_prompt" in path.relative_to(folder).parts:
            yield from _leaf(path, inner)


def _lines(path: Path, inner: str) -> Iterator[Foreign]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as source:
        for number, line in enumerate(source, 1):
            if not line.strip():
                continue
            where = f"{inner}:{number}"
            if not _readable(line):
                yield Foreign(where, "unfit", {"line": _shown(line)[:500]}, why=_NOT_TEXT)
                continue
            try:
                row = json.loads(line)
            except ValueError:
                yield Foreign(where, "unfit", {"line": line[:500]}, why="no JSON")
                continue
            yield (
                classify(row, where)
                if isinstance(row, dict)
                else Foreign(where, "unfit", {"line": row}, why="no object")
            )


_NOT_TEXT = "not UTF-8 text"


def _readable(text: str) -> bool:
    """Whether all bytes of a line were UTF-8; an answer with a letter replaced would not be what the model wrote."""
    return not any("\udc80" <= letter <= "\udcff" for letter in text)


def _shown(text: str) -> str:
    """A line that is not UTF-8, with a mark for every byte that cannot be read."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _table(path: Path, inner: str) -> Iterator[Foreign]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as source:
        for number, row in enumerate(csv.DictReader(source), 2):
            if not _readable(text := json.dumps(row, ensure_ascii=False)):
                yield Foreign(f"{inner}:{number}", "unfit", {"line": _shown(text)[:500]}, why=_NOT_TEXT)
                continue
            scores = {name[6:]: _number(value) for name, value in row.items() if name and name.startswith("score_")}
            whole: dict[str, Any] = {name: value for name, value in row.items() if name and value not in (None, "")}
            yield classify(whole | ({"scores": scores} if scores else {}), f"{inner}:{number}")


def _leaf(path: Path, inner: str) -> Iterator[Foreign]:
    """One file of the tree; a .debug.yaml beside it is the same sample."""
    if path.name.endswith((".debug.yaml", ".debug.yml")):
        yield Foreign(inner, "link", {}, why="the debug file of the sample beside it")
        return
    parts = path.parts[path.parts.index("by_prompt") + 1 :]
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) if path.stat().st_size < MOST_BYTES else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield Foreign(inner, "unfit", {}, why=f"no YAML: {str(error).splitlines()[0]}")
        return
    if not isinstance(data, dict) or len(parts) != 4:
        yield Foreign(inner, "unfit", {}, why="not by_prompt/PROMPT/CONFIG/MODEL/FILE, or no mapping")
        return
    named = {"prompt_name": parts[0], "config": parts[1], "model": parts[2]}
    answers = _first(data, "text")
    for number, text in enumerate(answers if isinstance(answers, list) else [answers]):
        where = f"{inner}#{number}" if isinstance(answers, list) else inner
        yield classify({**data, **named, "text": text}, where)


def classify(row: Mapping[str, Any], where: str) -> Foreign:
    """What a row is."""
    parts = {name: found for name in NAMES if (found := _first(row, name)) is not None}
    scores = parts.get("scores")
    if isinstance(scores, Mapping) and "text" not in parts:
        if "id" not in parts:
            return Foreign(where, "unfit", row, why="scores of no sample: it has no id")
        return Foreign(where, "judgment", row, parts)
    text = parts.get("text")
    if isinstance(text, Mapping):
        text = text.get("content")
    if not isinstance(text, str):
        return Foreign(where, "unfit", row, why="no answer: none of " + ", ".join(NAMES["text"]))
    asked = _messages(parts.get("asked"))
    if asked is None:
        return Foreign(where, "unfit", row, why="no prompt: none of " + ", ".join(NAMES["asked"]))
    plain = {name: row[name] for name in _PLAIN if isinstance(row.get(name), str | int | float)}
    return Foreign(where, "sample", row, {**parts, "text": text, "asked": asked, **plain})


def _first(row: Mapping[str, Any], name: str) -> Any:
    return next((row[column] for column in NAMES[name] if row.get(column) is not None), None)


def _messages(asked: object) -> list[dict[str, str]] | None:
    if isinstance(asked, str) and asked.strip():
        return [{"role": "user", "content": asked}]
    if isinstance(asked, list) and asked and all(isinstance(m, Mapping) and "content" in m for m in asked):
        return [{"role": str(m.get("role", "user")), "content": str(m["content"])} for m in asked]
    return None


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None
