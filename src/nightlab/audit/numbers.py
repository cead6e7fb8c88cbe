"""Numbers in prose and tables against every aggregate of the rows, and how many arbitrary numbers would have passed.

A number passes where some mean, share, extreme or difference of the rows that its sentence speaks of rounds to it. The
less a sentence names, the more aggregates it may mean, and the weaker is the check: each finding says how weak.
Only numbers with decimals are looked at; whole ones are counts.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nightlab.audit import prose
from nightlab.audit.data import Data
from nightlab.audit.finding import Finding, Level, finding

_DECIMAL = re.compile(r"(?<![\w.,/-])[-+−]?(\d{1,6}\.\d{1,4})(?![\w]|\.\d)(\s?%)?")
_VERSION = re.compile(
    r"(?i)\b(?:(?:v|version|llama|gemma|qwen|gpt|claude|python|phi|mistral|vllm|torch)[\s-]{0,3}"
    r"|(?:utilization|temperature|top[-_ ]p)\b[\s\w-]{0,12})$"
)
"""Before numbers that are no results: `Llama 3.1`, `temperature of 0.7`; not `llama full 4.2`."""
WEAK = 0.25


@dataclass(frozen=True)
class Aggregate:
    """A number that rows give: what it is, of which measure, for which levels."""

    value: float
    what: str
    measure: str
    levels: tuple[tuple[str, str], ...]


class Aggregates:
    """Every aggregate of the scored rows over up to two factors."""

    def __init__(self, data: Data) -> None:
        self.data = data

    @cached_property
    def factors(self) -> list[str]:
        """The factors that scores are grouped by: those of the scored rows, without the ones that name single rows."""
        own = {name for row in self.data.scored for name in row.values}
        return [name for name, levels in self.data.factors.items() if name in own and 1 < len(levels) <= 30][:5]

    @cached_property
    def all(self) -> list[Aggregate]:
        """All of them."""
        found: list[Aggregate] = []
        for size in (0, 1, 2):
            for factors in itertools.combinations(self.factors, size):
                found += self._by(factors)
        return found

    def _by(self, factors: tuple[str, ...]) -> list[Aggregate]:
        groups: dict[tuple[str, str, tuple[str, ...]], list[float]] = {}
        for row in self.data.scored:
            levels = tuple(str(row.values.get(name)) for name in factors)
            for measure in self.data.measures:
                if (value := row.number(measure)) is not None:
                    groups.setdefault(("", measure, levels), []).append(value)
        found = []
        for (_, measure, levels), values in groups.items():
            named = tuple(zip(factors, levels, strict=True))
            mean = sum(values) / len(values)
            found += [Aggregate(mean, "mean", measure, named), Aggregate(max(values), "largest", measure, named)]
            found.append(Aggregate(sorted(values)[len(values) // 2], "median", measure, named))
        return found

    def spoken_of(self, levels: dict[str, set[str]], measures: set[str]) -> list[Aggregate]:
        """Those that a text may mean: of every factor and measure that it names, what it names."""
        return [
            one
            for one in self.all
            if (not measures or one.measure in measures)
            and all(dict(one.levels).get(factor) in names for factor, names in levels.items())
        ]


def numbers(data: Data) -> Iterator[Finding]:
    """Findings about numbers that no aggregate gives."""
    aggregates = Aggregates(data)
    if not data.scored:
        found = sum(1 for text in data.texts.values() for line in prose.lines(text) for _ in _decimals(line.text))
        if found:
            what = f"{found} numbers in texts cannot be held against anything: there are no scores here"
            yield finding("numbers", "note", data.root, what)
        return
    passed: list[float] = []
    for path, text in data.texts.items():
        for line in prose.lines(text):
            yield from _line(line, path, aggregates, passed)
    if passed:
        share = sum(passed) / len(passed)
        cases = f"{100 * share:.0f} % of cases"
        what = f"of {len(passed)} numbers held against the rows, an arbitrary one would have passed in {cases}"
        yield finding("numbers", "note", data.root, what)


def _decimals(text: str) -> Iterator[tuple[str, str]]:
    """The numbers of a text, each with the words before it."""
    for found in _DECIMAL.finditer(text):
        if not _VERSION.search(text[: found.start()]) and not found[2]:
            yield found[1], text[: found.start()]


def _line(line: prose.Line, path: Path, aggregates: Aggregates, passed: list[float]) -> Iterator[Finding]:
    for part, label in _parts(line):
        decimals = list(_decimals(part))
        if not decimals:
            continue
        context = f"{label} {line.cells[0] if line.header else line.text}"
        candidates = aggregates.spoken_of(*_context(aggregates, context, label or line.text, line))
        for number, _ in decimals if candidates else []:
            power = _share(number, candidates)
            passed.append(power)
            if not any(_gives(one, number) for one in candidates):
                level: Level = "warning" if power > WEAK else "error"
                what = f"no aggregate of the rows gives {number}"
                evidence = _closest(number, candidates, power)
                root = aggregates.data.root
                yield finding("numbers", level, path, what, line=line.number, evidence=evidence, root=root)


def _gives(one: Aggregate, number: str) -> bool:
    digits = len(number.partition(".")[2])
    return abs(float(number) - abs(one.value)) <= 0.5 * 10.0**-digits + 1e-9


def _closest(number: str, candidates: list[Aggregate], power: float) -> str:
    close = min(candidates, key=lambda one: abs(abs(one.value) - float(number)))
    where = ", ".join(f"{factor} {level}" for factor, level in close.levels) or "all rows"
    shown = f"{close.value:.{len(number.partition('.')[2]) + 1}f}"
    return (
        f"closest: {close.what} {close.measure} of {where} = {shown}; "
        f"an arbitrary number would have passed in {100 * power:.0f} % of cases"
    )


def _parts(line: prose.Line) -> Iterator[tuple[str, str]]:
    """A line, or each cell of a table's row with the label of its column."""
    if not line.header:
        yield line.text, ""
    yield from zip(line.cells[1:], line.header[1:], strict=False)


def _context(aggregates: Aggregates, text: str, label: str, line: prose.Line) -> tuple[dict[str, set[str]], set[str]]:
    """Which levels and measures a sentence speaks of; what it does not name, its headings may."""
    data = aggregates.data
    levels: dict[str, set[str]] = {}
    for factor in aggregates.factors:
        for place in (text, *reversed(line.headings)):
            if found := {level for level in data.factors[factor] if prose.mentions(place, level)}:
                levels[factor] = found
                break
    return levels, {name for name in data.measures if prose.named(label, name)}


def _share(number: str, candidates: list[Aggregate]) -> float:
    """The share of all numbers between 0 and 10, with as many digits, that would have passed."""
    digits = len(number.partition(".")[2])
    values = {round(abs(one.value), digits) for one in candidates}
    return sum(1 for value in values if value <= 10) / float(10 * 10**digits + 1)
