"""Rows that got lost between answers, scores and aggregates, and identities that file names do not give back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from nightlab.audit.data import ID, Data, Row
from nightlab.audit.finding import Finding, finding

_N = re.compile(r"n|count|n_samples|samples|num_samples")
_ALONE = 5  # files with one record each, from which a naming scheme can be told


def lost(data: Data) -> Iterator[Finding]:
    """Findings about rows that are in one place and not in the next."""
    yield from _between(data)
    yield from _aggregates(data)
    yield from _names(data)


def _between(data: Data) -> Iterator[Finding]:
    """Answers against scores, by a common id where there is one, else by level."""
    scores = [row for row in data.scored if row.text is None]
    if not data.samples or not scores:
        return
    common = next((name for name in ID if all(name in row.values for row in (*data.samples, *scores))), None)
    if common is not None:
        missing = {str(r.values[common]): r for r in data.samples}
        for row in scores:
            missing.pop(str(row.values[common]), None)
        for file in dict.fromkeys(row.file for row in missing.values()):
            own = [row for row in missing.values() if row.file == file]
            what = f"{len(own)} of {len(data.files[file])} answers have no score"
            evidence = f"the first is {common} {own[0].values[common]}"
            yield finding("lost", "error", file, what, line=own[0].line, evidence=evidence, root=data.root)
        return
    for factor in data.factors:
        before = Counter(str(row.values[factor]) for row in data.samples if factor in row.values)
        after = Counter(str(row.values[factor]) for row in scores if factor in row.values)
        for level, count in before.items():
            if after and after[level] < count:
                what = f"{factor} {level}: {count} answers, {after[level]} of them scored"
                yield finding("lost", "error", scores[0].file, what, line=scores[0].line, root=data.root)
        if after:
            return


def _aggregates(data: Data) -> Iterator[Finding]:
    """The n of each row of a table against the rows it sums up."""
    for row in data.rows:
        column = next((name for name in row.values if _N.fullmatch(name) and row.number(name) is not None), None)
        where = {name: row.values[name] for name in data.factors if name in row.values}
        if column is None or not where or not data.is_aggregate(row):
            continue
        known = [
            one for one in data.scored if all(str(one.values.get(name)) == str(level) for name, level in where.items())
        ]
        n = int(row.number(column) or 0)
        if known and n != len(known):
            said = ", ".join(f"{name} {level}" for name, level in where.items())
            what = f"{said}: n = {n} here, {len(known)} scored rows"
            yield finding("lost", "error", row.file, what, line=row.line, root=data.root)


def _names(data: Data) -> Iterator[Finding]:
    """Files of one record each whose names are their identity: each has to be made of known levels."""
    folders: dict[Path, list[Row]] = {}
    for path, rows in data.files.items():
        if len(rows) == 1 and path.suffix in (".json", ".yaml", ".yml"):
            folders.setdefault(path.parent, []).append(rows[0])
    for own in folders.values():
        anonymous = [row for row in own if not set(row.values) & {*data.factors, *ID}]
        if len(anonymous) < _ALONE:
            continue
        parts = [re.split(r"__|_", row.file.stem) for row in anonymous]
        usual = Counter(len(words) for words in parts).most_common(1)[0][0]
        for row, words in zip(anonymous, parts, strict=True):
            if len(words) != usual:
                what = (
                    f"this record says who it is by its file name alone, which has {len(words)} parts and not {usual}"
                )
                yield finding("lost", "error", row.file, what, root=data.root)
