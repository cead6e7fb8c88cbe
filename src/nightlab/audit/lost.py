"""Rows that got lost between answers, scores and aggregates, and identities that file names do not give back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from nightlab.audit.data import ID, Data, Row
from nightlab.audit.finding import Finding, finding

_N = re.compile(r"n|count|n_samples|samples|num_samples")
_USUAL = 0.6  # of the names of a folder follow its scheme, at least
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
    """Files of one record each whose names are their identity: each has to be made of known levels, and be scored."""
    for own in _anonymous(data):
        factors = _named_by(own, data)
        if not factors:
            yield from _odd_lengths(own, data.root)
            continue
        known = {row.file: _read_name(row.file.stem, factors, data) for row in own}
        scored = {
            tuple(str(row.values[name]) for name in factors) for row in data.scored if {*factors} <= {*row.values}
        }
        for row in own:
            levels = known[row.file]
            missing = [name for name in factors if name not in levels]
            if missing:
                what = "this record says who it is by its file name alone, which does not parse"
                evidence = f"it names no known {' and no known '.join(missing)}"
                yield finding("lost", "error", row.file, what, evidence=evidence, root=data.root)
            elif scored and row.text is not None and tuple(levels.values()) not in scored:
                said = ", ".join(f"{name} {level}" for name, level in levels.items())
                yield finding("lost", "error", row.file, "this answer has no score", evidence=said, root=data.root)


def _anonymous(data: Data) -> Iterator[list[Row]]:
    """By folder, the files of one record each that do not say in the record what their name says."""
    folders: dict[Path, list[Row]] = {}
    for path, rows in data.files.items():
        if len(rows) == 1 and path.suffix in (".json", ".yaml", ".yml") and not {*rows[0].values} & {*ID}:
            words = [value for value in rows[0].values.values() if isinstance(value, str) and len(value) > 2]
            if not any(word in path.stem for word in words):
                folders.setdefault(path.parent, []).append(rows[0])
    yield from (own for own in folders.values() if len(own) >= _ALONE)


def _named_by(own: list[Row], data: Data) -> list[str]:
    """The factors of other files whose levels most of the names hold."""
    stems = [row.file.stem for row in own]
    found = []
    for factor, levels in data.factors.items():
        holds = sum(any(_names_level(stem, level) for level in levels) for stem in stems)
        if len(levels) > 1 and holds >= _USUAL * len(stems):
            found.append(factor)
    return found


def _read_name(stem: str, factors: list[str], data: Data) -> dict[str, str]:
    """The level of each factor that a name holds, the longest that fits."""
    found = {}
    for factor in factors:
        if inside := [level for level in data.factors[factor] if _names_level(stem, level)]:
            found[factor] = max(inside, key=len)
    return found


def _names_level(stem: str, level: str) -> bool:
    """Whether a name has a level as a part of its own: `a` in `a_base_1`, and not in `llama_base_1`."""
    return bool(re.search(rf"(?<![A-Za-z0-9]){re.escape(level)}(?![A-Za-z0-9])", stem))


def _odd_lengths(own: list[Row], root: Path) -> Iterator[Finding]:
    """Without known levels: names of another number of parts than nearly all the others.

    A guess, and so a warning: configurations and prompts may be named as they like.
    """
    parts = [re.split(r"__|_", row.file.stem) for row in own]
    usual, count = Counter(len(words) for words in parts).most_common(1)[0]
    for row, words in zip(own, parts, strict=True):
        if len(words) != usual and count >= _USUAL * len(own):
            what = f"this record says who it is by its file name alone, which has {len(words)} parts and not {usual}"
            yield finding("lost", "warning", row.file, what, root=root)
