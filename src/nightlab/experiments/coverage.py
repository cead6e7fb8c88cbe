"""How far a sweep is, from its files at any moment: counts, an honest end, and whether what is missing is so by chance.

Missingness is tested for each factor by Pearson's chi-square of answered and missing cells over its levels (df = levels
- 1; p by the approximation of Wilson & Hilferty 1931, PNAS 17(12)). While a sweep runs in the order of the plan, early
levels are ahead: that is no bias, and the test is made of cells that were attempted alone. The end is reckoned from the
answers of the last minutes; without any in the last two there is none to reckon.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any

from nightlab.experiments.cells import Cell
from nightlab.experiments.looks import called_cells
from nightlab.experiments.plan import Plan
from nightlab.experiments.samples import Samples

FACTORS = ("model", "condition", "prompt", "category", "replicate")
WINDOW = 300.0  # seconds of answers that the end is reckoned from
IDLE = 120.0  # seconds without an answer after which there is no end to reckon
SIGNIFICANT = 0.01
SHADES = " ░▒▓█"


@dataclass(frozen=True)
class Missingness:
    """Whether a factor has to do with what is missing among the cells that were attempted."""

    factor: str
    statistic: float
    df: int
    p: float

    @property
    def suspicious(self) -> bool:
        """Whether chance is no good explanation."""
        return self.p < SIGNIFICANT


@dataclass(frozen=True)
class Coverage:
    """Cells by level of each factor (answered, planned), what failed, and when it ends."""

    planned: int
    answered: int
    attempted: int
    levels: Mapping[str, Mapping[str, tuple[int, int]]]
    grid: Mapping[tuple[str, str], tuple[int, int]]
    missingness: tuple[Missingness, ...]
    failures: Mapping[str, int]
    per_second: float
    seconds_left: tuple[float, float] | None
    last_answer: str | None

    def document(self) -> dict[str, Any]:
        """A JSON value."""
        return {
            "planned": self.planned,
            "answered": self.answered,
            "missing": self.planned - self.answered,
            "given_up_or_failing": self.attempted - self.answered,
            "failed_attempts": dict(self.failures),
            "answers_per_second": round(self.per_second, 3),
            "seconds_left": None if self.seconds_left is None else [round(s) for s in self.seconds_left],
            "last_answer": self.last_answer,
            "levels": {f: {name: list(counts) for name, counts in found.items()} for f, found in self.levels.items()},
            "grid": [{"model": m, "condition": c, "answered": a, "planned": p} for (m, c), (a, p) in self.grid.items()],
            "missingness": [
                {"factor": m.factor, "chi2": round(m.statistic, 3), "df": m.df, "p": round(m.p, 5)}
                for m in self.missingness
            ],
        }

    def text(self) -> str:
        """The same for people: counts, end, heat-map, and the factors that what is missing depends on."""
        lines = [f"{self.answered} of {self.planned} cells answered{self._end()}"]
        if self.failures:
            lines.append("failed attempts: " + ", ".join(f"{name} {count}" for name, count in self.failures.items()))
        lines += ["", *self._heat_map(), ""]
        for test in self.missingness:
            numbers = f"chi-square {test.statistic:.1f}, df {test.df}, p {test.p:.3g}"
            if test.suspicious:
                lines.append(f"What is missing depends on the {test.factor} ({numbers}): {self._worst(test.factor)}")
        if self.missingness and not any(test.suspicious for test in self.missingness):
            lines.append("What was attempted and is missing does not depend on a factor, as far as can be told.")
        return "\n".join(lines).rstrip()

    def _end(self) -> str:
        if self.answered == self.planned:
            return "; complete"
        if self.seconds_left is None:
            return (
                f"; no answer lately (last {self.last_answer}), so no end can be reckoned" if self.last_answer else ""
            )
        low, high = (_span(seconds) for seconds in self.seconds_left)
        return f"; {self.per_second:.1f} a second, done in {low} to {high}"

    def _heat_map(self) -> list[str]:
        models = list(dict.fromkeys(model for model, _ in self.grid))
        conditions = list(dict.fromkeys(condition for _, condition in self.grid))
        width = max(map(len, conditions))
        lines = [f"{'':<{width}}  " + "  ".join(f"{model:>8}" for model in models)]
        for condition in conditions:
            shown = []
            for model in models:
                answered, planned = self.grid.get((model, condition), (0, 0))
                share = answered / planned if planned else 0.0
                shown.append(f"{SHADES[math.ceil(share * (len(SHADES) - 1))]} {share:>6.0%}")
            lines.append(f"{condition:<{width}}  " + "  ".join(f"{text:>8}" for text in shown))
        return lines

    def _worst(self, factor: str) -> str:
        name, (answered, planned) = min(self.levels[factor].items(), key=lambda item: item[1][0] / max(item[1][1], 1))
        return f"least at {name}, {answered} of {planned}"


def coverage(plan: Plan, clock: datetime | None = None) -> Coverage:
    """How far a plan's sweep is. Raises StorageError."""
    cells = called_cells(plan)
    samples = Samples(plan.folder)
    times = sorted(str(row["t"]) for row in samples.rows())
    answered = samples.keys()
    rows = list(samples.failures())
    attempted = {str(row["key"]) for row in rows} | answered
    tallies: dict[str, Counter[tuple[str, bool]]] = {factor: Counter() for factor in FACTORS}
    tried: dict[str, Counter[tuple[str, bool]]] = {factor: Counter() for factor in FACTORS}
    grid: Counter[tuple[str, str, bool]] = Counter()
    for cell in cells:
        there = cell.key in answered
        grid[cell.model, cell.condition, there] += 1
        for factor, level in _levels(cell):
            tallies[factor][level, there] += 1
            if cell.key in attempted:
                tried[factor][level, there] += 1
    done = sum(count for (_, _, there), count in grid.items() if there)
    rate, left = _pace(times, len(cells) - done, clock or datetime.now(UTC))
    places = dict.fromkeys((model, condition) for model, condition, _ in grid)
    return Coverage(
        planned=len(cells),
        answered=done,
        attempted=sum(cell.key in attempted for cell in cells),
        levels={factor: _counted(tally) for factor, tally in tallies.items()},
        grid={(m, c): (grid[m, c, True], grid[m, c, True] + grid[m, c, False]) for m, c in places},
        missingness=tuple(test for factor in FACTORS if (test := _test(factor, tried[factor]))),
        failures=dict(Counter(str(row["class"]) for row in rows)),
        per_second=rate,
        seconds_left=left,
        last_answer=times[-1] if times else None,
    )


def _levels(cell: Cell) -> Iterable[tuple[str, str]]:
    return ((factor, str(getattr(cell, factor))) for factor in FACTORS)


def _counted(tally: Counter[tuple[str, bool]]) -> dict[str, tuple[int, int]]:
    names = dict.fromkeys(name for name, _ in tally)
    return {name: (tally[name, True], tally[name, True] + tally[name, False]) for name in names}


def _test(factor: str, tally: Counter[tuple[str, bool]]) -> Missingness | None:
    """The test of one factor; None where nothing attempted is missing, or there is one level."""
    found = _counted(tally)
    total, done = sum(planned for _, planned in found.values()), sum(answered for answered, _ in found.values())
    if len(found) < 2 or done in (0, total):
        return None
    statistic = 0.0
    for answered, planned in found.values():
        for count, share in ((answered, done / total), (planned - answered, 1 - done / total)):
            statistic += (count - planned * share) ** 2 / (planned * share)
    df = len(found) - 1
    return Missingness(factor, statistic, df, chi_square_tail(statistic, df))


def chi_square_tail(statistic: float, df: int) -> float:
    """The probability of a chi-square at least this large (Wilson & Hilferty: to about 0.002)."""
    spread = 2 / (9 * df)
    return 1 - NormalDist().cdf(((statistic / df) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


def _pace(times: list[str], missing: int, clock: datetime) -> tuple[float, tuple[float, float] | None]:
    """Answers a second of late, and the seconds that are left at that pace, give or take its own chance."""
    if not times or missing == 0:
        return 0.0, None
    newest = datetime.fromisoformat(times[-1])
    late = [t for text in times[-5000:] if (newest - (t := datetime.fromisoformat(text))).total_seconds() <= WINDOW]
    span = (newest - late[0]).total_seconds()
    if len(late) < 2 or span <= 0:
        return 0.0, None
    rate = (len(late) - 1) / span
    if (clock - newest).total_seconds() > IDLE:
        return rate, None
    give = min(0.9, 2 / math.sqrt(len(late)))
    return rate, (missing / (rate * (1 + give)), missing / (rate * (1 - give)))


def _span(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
