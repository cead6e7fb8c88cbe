"""How far the scores of an experiment can be trusted, from its files: what stands beside every mean.

Per dimension: test-retest (repeats of one judge, and the copies in its batches), agreement between judges, the error on
gold items; whether scores are degenerate; how many batches were rejected; what the pilot showed. Across the experiments
of a lab: whether a judge drifts from night to night on the same gold items.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nightlab.judging.agreement import LEVEL, RESAMPLES, Agreement, Floats, alpha, icc
from nightlab.judging.degeneracy import doubts
from nightlab.judging.log import read_log
from nightlab.judging.rows import counts, read_judgments, stands

Row = Mapping[str, Any]


@dataclass(frozen=True)
class GoldError:
    """A judge on its gold items in one dimension: mean absolute error, and mean error (bias), over so many scores."""

    off: float
    bias: float
    n: int


@dataclass(frozen=True)
class Trust:
    """One dimension: agreement of a judge with itself and with others, its gold error; None where nothing is known."""

    dimension: str
    retest: Agreement | None = None
    retest_icc: Agreement | None = None
    between: Agreement | None = None
    between_icc: Agreement | None = None
    gold: GoldError | None = None

    @property
    def short(self) -> str:
        """What fits beside a mean: the agreement between judges, else with itself, else the gold error."""
        if self.between:
            return f"α {self.between.value:.2f} [{self.between.low:.2f}, {self.between.high:.2f}] between judges"
        if self.retest:
            return f"α {self.retest.value:.2f} [{self.retest.low:.2f}, {self.retest.high:.2f}] retest"
        return f"off by {self.gold.off:.2f} on gold" if self.gold else "not measured"


@dataclass(frozen=True)
class Drift:
    """A judge on the same gold items on two dates: the change of its mean error, its interval, and how many items."""

    judge: str
    dimension: str
    first: str
    last: str
    change: float
    low: float
    high: float
    items: int

    @property
    def certain(self) -> bool:
        """Whether the interval excludes no drift."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Reliability:
    """The trust in each dimension, and what else a reader of the means must know."""

    trust: Mapping[str, Trust]
    doubts: tuple[str, ...]
    batches: int
    rejected: tuple[str, ...]
    pilot: Mapping[str, Any] | None

    @property
    def measured(self) -> bool:
        """Whether anything is known about reliability."""
        return any(t.retest or t.between or t.gold for t in self.trust.values())


def reliability(folder: Path, *, seed: int = 0, resamples: int = RESAMPLES) -> Reliability:
    """The reliability of an experiment's judgments. Raises StorageError."""
    rows = [row for row in read_judgments(folder) if stands(row)]
    scores = [row for row in rows if counts(row)]
    checks = read_log(folder, "check")
    closed = read_log(folder, "closed")
    rejected = {str(row["batch"]) for row in closed if row.get("rejected")}
    kept = [check for check in checks if check["batch"] not in rejected]
    names = list(dict.fromkeys(name for row in scores for name in row["scores"]))
    pilot = next(iter(read_log(folder, "gate")), None)
    return Reliability(
        {name: _trust(name, scores, rows, kept, seed, resamples) for name in names},
        tuple(doubts([row["scores"] for row in scores])) if closed else (),
        len(closed),
        tuple(str(row["rejected"]) for row in closed if row.get("rejected")),
        pilot,
    )


def drift(
    folders: Iterable[Path], *, rubrics: Container[str] | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> list[Drift]:
    """Per judge and dimension, the change of its mean gold error between its first and its last day in these folders.

    Only gold items that were scored on both days count (`rubrics`: those of these hashes), and each is compared with
    itself. Days are those of UTC.
    """
    errors: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
    for folder in folders:
        for check in read_log(folder, "check"):
            if check["kind"] == "gold" and (rubrics is None or check["rubric"] in rubrics):
                _note(errors, check)
    found = [_drift(*who, days, seed, resamples) for who, days in sorted(errors.items())]
    return [one for one in found if one is not None]


def drift_beside(folder: Path, others: Iterable[Path], *, seed: int = 0, resamples: int = RESAMPLES) -> list[Drift]:
    """The drift of an experiment's judges on the gold items of its rubric, over all these folders and its own."""
    judged = {(str(row["judge"]), str(row["rubric"])) for row in read_log(folder, "check")}
    names, rubrics = {judge for judge, _ in judged}, {rubric for _, rubric in judged}
    found = drift([folder, *others], rubrics=rubrics, seed=seed, resamples=resamples) if judged else []
    return [one for one in found if one.judge in names]


def _note(errors: dict[tuple[str, str], dict[str, dict[str, list[float]]]], check: Row) -> None:
    item = f"{check['rubric']}/{check['ref']}"
    for name, wanted in check["expected"].items():
        if (score := check["scores"].get(name)) is not None:
            days = errors.setdefault((str(check["judge"]), name), {})
            days.setdefault(str(check["t"])[:10], {}).setdefault(item, []).append(score - wanted)


def _drift(
    judge: str, dimension: str, days: Mapping[str, Mapping[str, list[float]]], seed: int, resamples: int
) -> Drift | None:
    first, last = min(days), max(days)
    both = [item for item in days[first] if item in days[last]]
    if first == last or len(both) < 2:
        return None
    changes = np.array([np.mean(days[last][item]) - np.mean(days[first][item]) for item in both])
    dice = np.random.default_rng(seed)
    drawn = changes[dice.integers(0, len(both), (resamples, len(both)))].mean(axis=1)
    low, high = (float(np.quantile(drawn, share)) for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Drift(judge, dimension, first, last, float(changes.mean()), low, high, len(both))


def _trust(
    name: str, scores: Sequence[Row], rows: Sequence[Row], checks: Sequence[Row], seed: int, resamples: int
) -> Trust:
    first = {str(row["judge"]) for row in scores}
    own = [check for check in checks if check["judge"] in first]
    again = _retest(name, scores, [check for check in own if check["kind"] == "copy"])
    other = _between(name, rows)
    known = {"seed": seed, "resamples": resamples}
    return Trust(
        name,
        alpha(again, **known) if again.size else None,
        icc(again, **known) if again.size else None,
        alpha(other, **known) if other.size else None,
        icc(other, **known) if other.size else None,
        _gold(name, [check for check in own if check["kind"] == "gold"]),
    )


def _retest(name: str, scores: Sequence[Row], copies: Sequence[Row]) -> Floats:
    """Scores of the same answer by the same judge, one column for each answer that was scored twice or more."""
    groups: dict[tuple[str, str], list[float]] = {}
    if not copies and len({(row.get("repeat"), row.get("rubric")) for row in scores}) < 2:
        return _columns([])
    for row in scores:
        if (score := row["scores"].get(name)) is not None:
            groups.setdefault((str(row["judge"]), str(row["key"])), []).append(float(score))
    for check in copies:
        if (score := check["scores"].get(name)) is not None and (str(check["judge"]), str(check["ref"])) in groups:
            groups[str(check["judge"]), str(check["ref"])].append(float(score))
    return _columns([given for given in groups.values() if len(given) > 1])


def _between(name: str, rows: Sequence[Row]) -> Floats:
    """The mean score of each judge for each answer, one column for each answer that two judges scored."""
    groups: dict[str, dict[str, list[float]]] = {}
    judges = sorted({str(row["judge"]) for row in rows})
    if len(judges) < 2:
        return np.zeros((0, 0))
    for row in rows:
        if (score := row["scores"].get(name)) is not None:
            groups.setdefault(str(row["key"]), {}).setdefault(str(row["judge"]), []).append(float(score))
    both = [
        [float(np.mean(given[judge])) if judge in given else np.nan for judge in judges]
        for given in groups.values()
        if len(given) > 1
    ]
    return np.array(both, dtype=float).T if both else np.zeros((0, 0))


def _columns(groups: Sequence[Sequence[float]]) -> Floats:
    if not groups:
        return np.zeros((0, 0))
    table = np.full((max(map(len, groups)), len(groups)), np.nan)
    for column, given in enumerate(groups):
        table[: len(given), column] = given
    return table


def _gold(name: str, checks: Sequence[Row]) -> GoldError | None:
    errors = [
        float(score) - float(check["expected"][name])
        for check in checks
        if name in check["expected"] and (score := check["scores"].get(name)) is not None
    ]
    if not errors:
        return None
    return GoldError(float(np.mean(np.abs(errors))), float(np.mean(errors)), len(errors))
