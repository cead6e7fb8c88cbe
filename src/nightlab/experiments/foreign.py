"""Rows of somebody else's scaffold, read as they are: JSONL, CSV, and the tree of one YAML file per sample.

What a column is called differs from scaffold to scaffold (columns.py). A row becomes a sample (it has a prompt and an
answer, perhaps its scores, too), a judgment (it has scores and names a sample), or unfit, with the reason: every row
that was read is one of the three. A value is one that JSON can hold: NaN, which pandas writes for nothing, is nothing,
and an infinite number or a date is its text. In the tree only by_prompt/PROMPT/CONFIG/MODEL/*.yaml is read: the other
by_* folders are links to the same files, and are counted as such.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from nightlab.experiments.columns import NAMES, bare_scores, first, parts_of

MOST_BYTES = 4 << 20  # of one YAML file, and of one field of a table

Fit = Literal["sample", "judgment", "unfit", "link"]


@dataclass(frozen=True)
class Foreign:
    """A row as it was read: where it stood, what it is, its parts by our names; `why` where it is unfit.

    `rest` are the columns that have no name of ours.
    """

    where: str
    fit: Fit
    row: Mapping[str, Any]
    parts: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    rest: Mapping[str, Any] = field(default_factory=dict)


def read_folder(folder: Path, scores: Collection[str] = ()) -> Iterator[Foreign]:
    """Every row below a folder, in the order of the files' names; `scores` are columns that a person knows as such."""
    for path in sorted(folder.rglob("*")):
        inner = str(path.relative_to(folder))
        match _layout(path, folder):
            case "link":
                yield Foreign(inner, "link", {}, why="a link to another file of the folder")
            case "lines":
                yield from _classified(_lines(path, inner), scores)
            case "table":
                yield from _classified(_table(path, inner), scores)
            case "leaf":
                yield from _leaf(path, inner, scores)


def not_read(folder: Path) -> dict[str, int]:
    """How many files of a folder are in no layout that is read, by the end of their names."""
    left = [path for path in folder.rglob("*") if path.is_file() and not _layout(path, folder)]
    return dict(sorted(Counter(path.suffix or path.name for path in left).items()))


def _layout(path: Path, folder: Path) -> str:
    yaml_file = path.suffix in (".yaml", ".yml")
    if path.is_symlink():
        return "link" if yaml_file else ""
    if not path.is_file():
        return ""
    if yaml_file:
        return "leaf" if "by_prompt" in path.relative_to(folder).parts else ""
    return {".jsonl": "lines", ".csv": "table"}.get(path.suffix, "")


def _classified(rows: Iterable[tuple[str, Mapping[str, Any], str]], scores: Collection[str]) -> Iterator[Foreign]:
    """The rows of one file; what must be scores is seen over all of them."""
    read = list(rows)
    bare = {*scores, *bare_scores(row for _, row, why in read if not why)}
    for where, row, why in read:
        yield Foreign(where, "unfit", row, why=why) if why else classify(row, where, bare)


def _lines(path: Path, inner: str) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """The lines of a file: where, the row, and why it is none."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as source:
        for number, line in enumerate(source, 1):
            if not line.strip():
                continue
            where = f"{inner}:{number}"
            if not _readable(line):
                yield where, {"line": _shown(line)[:500]}, _NOT_TEXT
                continue
            try:
                row = _JSON.decode(line.strip())
            except (ValueError, RecursionError):
                yield where, {"line": line[:500]}, "no JSON"
                continue
            yield (where, row, "") if isinstance(row, dict) else (where, {"line": row}, "no object")


def _finite(text: str) -> float | str:
    """A number; its text where it is beyond all that can be computed with."""
    found = float(text)
    return found if math.isfinite(found) else text


def _constant(word: str) -> str | None:
    return None if word == "NaN" else word


_JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_constant)
_NOT_TEXT = "not UTF-8 text"
_OF_SEVERAL = "scores of several answers at once"


def _readable(text: str) -> bool:
    """Whether all bytes of a line were UTF-8; an answer with a letter replaced would not be what the model wrote."""
    return not any("\udc80" <= letter <= "\udcff" for letter in text)


def _shown(text: str) -> str:
    """A line that is not UTF-8, with a mark for every byte that cannot be read."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _table(path: Path, inner: str) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """The rows of a table, divided by commas, semicolons or tabs: where, the row, and why it is none."""
    csv.field_size_limit(MOST_BYTES)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as source:
        head = source.readline()
        source.seek(0)
        comma = max(",;\t", key=head.count)
        reader = csv.reader(source, delimiter=comma, strict=True)
        names: list[str] = []
        try:
            for fields in reader:
                where = f"{inner}:{reader.line_num}"
                if not names:
                    names = _headings(fields)
                elif fields:
                    yield where, *_record(names, fields)
        except csv.Error as error:
            why = f"no CSV from here to the end of the file: {error}"
            yield f"{inner}:{reader.line_num}", {}, why


def _headings(fields: Sequence[str]) -> list[str]:
    """The names of a table's columns; one without a name, or with a name that another has, is told by its place."""
    found: list[str] = []
    for place, name in enumerate(fields, 1):
        found.append(name if name.strip() and name not in found else f"{name or 'column'} ({place})")
    return found


def _record(names: Sequence[str], fields: Sequence[str]) -> tuple[Mapping[str, Any], str]:
    if not _readable(text := json.dumps(fields, ensure_ascii=False)):
        return {"line": _shown(text)[:500]}, _NOT_TEXT
    if len(fields) > len(names):
        return {"fields": list(fields)}, "more fields than the table has columns: a comma in a text without quotes?"
    return {name: value for name, value in zip(names, fields, strict=False) if value != ""}, ""


def _leaf(path: Path, inner: str, scores: Collection[str]) -> Iterator[Foreign]:
    """One file of the tree; a .debug.yaml beside it is the same sample."""
    if path.name.endswith((".debug.yaml", ".debug.yml")):
        yield Foreign(inner, "link", {}, why="the debug file of the sample beside it")
        return
    parts = path.parts[path.parts.index("by_prompt") + 1 :]
    try:
        data = _as_json(yaml.safe_load(path.read_text("utf-8"))) if path.stat().st_size < MOST_BYTES else None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        what = str(error).partition("\n")[0]
        yield Foreign(inner, "unfit", {}, why=f"no YAML: {what}")
        return
    if not isinstance(data, dict) or len(parts) != 4:
        yield Foreign(inner, "unfit", {}, why="not by_prompt/PROMPT/CONFIG/MODEL/FILE, or no mapping")
        return
    named = {"prompt_name": parts[0], "config": parts[1], "model": parts[2]}
    answers = first(data, "text")
    whole = {name: value for name, value in data.items() if value is not answers} | named
    for number, text in enumerate(answers if isinstance(answers, list) else [answers]):
        where = f"{inner}#{number}" if isinstance(answers, list) else inner
        row = classify({**whole, "text": text}, where, scores)
        several = isinstance(answers, list) and len(answers) > 1
        yield _not_its_own(row) if several and "scores" in row.parts else row


def _as_json(value: object) -> Any:
    """What YAML read, as JSON has it: keys and dates are texts. Raises TypeError for a key that cannot be one."""
    return _JSON.decode(json.dumps(value, default=str))


def _not_its_own(row: Foreign) -> Foreign:
    """An answer beside others, with the scores of all of them: they say nothing of it alone, and are only kept."""
    parts = {name: value for name, value in row.parts.items() if name != "scores"}
    return replace(row, parts=parts, rest={**row.rest, _OF_SEVERAL: row.parts["scores"]})


def classify(row: Mapping[str, Any], where: str, bare: Collection[str] = ()) -> Foreign:
    """What a row is; `bare` are columns of scores whose names do not say so."""
    parts, rest = parts_of(row, bare)
    if "scores" in parts and "text" not in parts:
        if "id" not in parts:
            return Foreign(where, "unfit", row, why="scores of no sample: it has no id")
        return Foreign(where, "judgment", row, parts, rest=rest)
    text = parts.get("text")
    if isinstance(text, Mapping):
        text = text.get("content")
    if not isinstance(text, str):
        return Foreign(where, "unfit", row, why="no answer: none of " + ", ".join(NAMES["text"]))
    asked = _messages(parts.get("asked"))
    if asked is None:
        return Foreign(where, "unfit", row, why="no prompt: none of " + ", ".join(NAMES["asked"]))
    named = [str(parts.get(name, "")) for name in ("model", "category")]
    if not _unicode("".join([*named, *(word for message in asked for word in message.values())])):
        return Foreign(where, "unfit", row, why="its prompt, model or category is no Unicode text")
    return Foreign(where, "sample", row, {**parts, "text": text, "asked": asked}, rest=rest)


def _unicode(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, of which no prompt and no name can be made."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _messages(asked: object) -> list[dict[str, str]] | None:
    if isinstance(asked, str) and asked.strip():
        return [{"role": "user", "content": asked}]
    if isinstance(asked, list) and asked and all(isinstance(m, Mapping) and "content" in m for m in asked):
        return [{"role": str(m.get("role", "user")), "content": str(m["content"])} for m in asked]
    return None
