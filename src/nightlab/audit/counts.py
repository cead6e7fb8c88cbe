"""Counts in texts against one another and against the rows: `63 of 63`, `n=64`, `8/9 prompts`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nightlab.audit import prose
from nightlab.audit.data import Data
from nightlab.audit.finding import Finding, finding

_OF = re.compile(r"(?<![\d./:-])(\d{1,6})\s*(?:/|of)\s*(\d{1,6})(?![\d./%-])(?:\s+(\w+))?")
_N = re.compile(r"\bn\s*=\s*(\d{1,6})\b(?:\s*of\s*(\d{1,6}))?", re.I)
_UNITS = {"prompt": "prompts", "prompts": "prompts", "model": "models", "models": "models", "categories": "categories"}


@dataclass(frozen=True)
class Said:
    """A count that a text states of a subject."""

    file: Path
    line: int
    subject: str
    unit: str
    count: int
    of: int | None
    text: str


def counts(data: Data) -> Iterator[Finding]:
    """Findings about counts that do not fit."""
    said = [one for path, text in data.texts.items() for one in _said(data, path, text)]
    yield from _between_texts(said, data.root)
    yield from _against_rows(said, data)


def subjects(data: Data) -> tuple[str, ...]:
    """What counts are counts of: models."""
    known = [level for name in ("model", "model_name", "llm") for level in data.factors.get(name, ())]
    return tuple(known) or prose.FAMILIES


def _said(data: Data, path: Path, text: list[str]) -> Iterator[Said]:
    names = subjects(data)
    for line in prose.lines(text):
        for start, found, unit, count, of in _matches(line.text):
            before = line.text[:start]
            near = [
                (before.casefold().rfind(_first_word(name)), name) for name in names if prose.mentions(before, name)
            ]
            above = [name for heading in line.headings for name in names if prose.mentions(heading, name)]
            subject = max(near)[1] if near else above[-1] if above else ""
            yield Said(path, line.number, subject, unit, count, of, found)


def _first_word(name: str) -> str:
    return re.split(r"[-_/. \d]", name.rsplit("/", 1)[-1].casefold())[0]


def _matches(text: str) -> Iterator[tuple[int, str, str, int, int | None]]:
    for found in _OF.finditer(text):
        if int(found[1]) <= 10 * int(found[2]):
            yield (
                found.start(),
                found[0],
                _UNITS.get((found[3] or "").casefold(), "samples"),
                int(found[1]),
                int(found[2]),
            )
    for found in _N.finditer(text):
        yield found.start(), found[0], "samples", int(found[1]), int(found[2]) if found[2] else None


def _between_texts(said: list[Said], root: Path) -> Iterator[Finding]:
    for subject in dict.fromkeys(one.subject for one in said if one.subject):
        own = [one for one in said if one.subject == subject and one.unit == "samples"]
        full = [one for one in own if one.of is not None]
        for one in (one for one in own if one.of is None):
            other = next((f for f in reversed(full) if one.count != f.count), None)
            if other is not None and all(one.count != f.count for f in full):
                what = f"{subject}: {one.text} here, {other.text} in {other.file.name}:{other.line}"
                yield finding("counts", "error", one.file, what, line=one.line, root=root)
    totals = Counter((one.unit, one.of) for one in said if one.unit != "samples" and one.of)
    for one in said:
        most = max((of for unit, of in totals if unit == one.unit and of), default=0)
        if one.unit != "samples" and one.of and one.of < most:
            other = next(o for o in said if o.unit == one.unit and o.of == most)
            what = f"{one.text} here, {other.text} in {other.file.name}:{other.line}: some {one.unit} are left out"
            yield finding("counts", "warning", one.file, what, line=one.line, root=root)
        if one.of is not None and one.count > one.of:
            yield finding("counts", "error", one.file, f"{one.text}: more than there are", line=one.line, root=root)


def _against_rows(said: list[Said], data: Data) -> Iterator[Finding]:
    factor = data.model_factor or next((name for name in ("model", "model_name") if name in data.factors), None)
    for one in said:
        if factor is None or one.unit != "samples" or not one.subject:
            continue
        known = {len(rows) for rows in _groups(data, factor, one.subject)}
        if known and one.count not in known:
            close = min(known, key=lambda count: (abs(count - one.count), count))
            what = f"{one.subject}: {one.text}, and no file has so many rows of it"
            evidence = f"the closest count is {close}; {len(known)} counts would have passed"
            yield finding("counts", "error", one.file, what, line=one.line, evidence=evidence, root=data.root)


def _groups(data: Data, factor: str, level: str) -> Iterator[list[object]]:
    """The rows of a level in each file, in each kind of row, and by one further factor."""
    for rows in (*data.files.values(), data.samples, data.scored):
        own = [row for row in rows if row.values.get(factor) == level]
        if own:
            yield list(own)
        for other in data.factors:
            if other != factor:
                for value in {row.values.get(other) for row in own} - {None}:
                    yield [row for row in own if row.values.get(other) == value]
