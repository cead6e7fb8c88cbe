"""Every mean of an experiment once, as rows that tables, figures and report share; and their csv form."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nightlab.evidence.outcomes import range_groups
from nightlab.evidence.peaks import Peak, find_peak
from nightlab.evidence.predict import Verdict
from nightlab.evidence.stats import Estimate, number
from nightlab.evidence.table import SCORED, STATUSES, Table, Where
from nightlab.files import write_atomic
from nightlab.judging.reliability import Reliability, reliability

ALL = ""
"""The category of a mean over all categories."""


@dataclass(frozen=True)
class Mean:
    """One mean: where it was taken, and the estimate."""

    model: str
    condition: str
    category: str
    dimension: str
    estimate: Estimate


@dataclass(frozen=True)
class Summary:
    """The means of an experiment by model and condition, for each dimension, over all categories and by category."""

    table: Table

    @cached_property
    def means(self) -> tuple[Mean, ...]:
        """Means over prompts and replicates."""
        return tuple(self._means((ALL,)))

    @cached_property
    def categories(self) -> tuple[Mean, ...]:
        """The same by prompt category."""
        return tuple(self._means(self.table.design.levels["category"]))

    @cached_property
    def reliability(self) -> Reliability | None:
        """How far the judges can be trusted; None for a table that was not read from a folder."""
        folder = self.table.rows.folder
        return reliability(folder, seed=self.table.design.seed) if folder else None

    @cached_property
    def _lookup(self) -> dict[tuple[str, str, str, str], Estimate]:
        found = (*self.means, *self.categories)
        return {(mean.model, mean.condition, mean.category, mean.dimension): mean.estimate for mean in found}

    @property
    def main(self) -> str | None:
        """The dimension of the first hypothesis, else the first one that was judged; None without judgments."""
        asked = [hypothesis.prediction.dimension for hypothesis in self.table.design.hypotheses]
        return next((name for name in (*asked, *self.table.dimensions) if name in self.table.dimensions), None)

    def at(self, model: str, condition: str, dimension: str, category: str = ALL) -> Estimate:
        """One of the means."""
        return self._lookup[model, condition, category, dimension]

    def peak(self, model: str, dimension: str) -> Peak | None:
        """The peak over the plan's ranges in one model; None where a range has no data."""
        ranges = self.table.design.ranges
        return find_peak(self.table.means(dimension, range_groups(model, ranges)), ranges)

    def _means(self, categories: Sequence[str]) -> Iterable[Mean]:
        design = self.table.design
        for category in categories:
            within: Where = {} if category == ALL else {"category": category}
            places = [(model, condition) for model in design.models for condition in design.conditions]
            groups = [{"model": model, "condition": condition, **within} for model, condition in places]
            draws = [self.table.means(dimension, groups) for dimension in self.table.dimensions]
            for index, (model, condition) in enumerate(places):
                for dimension, drawn in zip(self.table.dimensions, draws, strict=True):
                    yield Mean(model, condition, category, dimension, drawn.estimate(index))


def decimal(value: float) -> str:
    """A number in a csv: four decimals, empty where there is none."""
    return "" if value != value else number(value, 4)


def estimate_cells(estimate: Estimate) -> tuple[object, ...]:
    """An estimate in a csv: mean, low, high, n, planned, prompts."""
    bounds = (decimal(estimate.value), decimal(estimate.low), decimal(estimate.high))
    return (*bounds, estimate.n, estimate.planned, estimate.clusters)


ESTIMATE = ("mean", "low", "high", "n", "planned", "prompts")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a csv as a whole; the same rows give the same bytes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomic(path, out.getvalue())
    return path


def write_tables(summary: Summary, verdicts: Sequence[Verdict], folder: Path) -> list[Path]:
    """Write tables/*.csv: cells, counts, means, means by category, verdicts."""
    place = folder / "tables"
    header = ("model", "condition", "dimension", *ESTIMATE)
    means = [(m.model, m.condition, m.dimension, *estimate_cells(m.estimate)) for m in summary.means]
    split = [(m.category, m.model, m.condition, m.dimension, *estimate_cells(m.estimate)) for m in summary.categories]
    decided = [(v.id, v.kind, v.dimension, v.verdict, v.n, v.planned, v.text) for v in verdicts]
    return [
        _write_cells(summary.table, place / "cells.csv"),
        _write_counts(summary.table, place / "counts.csv"),
        write_csv(place / "means.csv", header, means),
        write_csv(place / "categories.csv", ("category", *header), split),
        write_csv(place / "verdicts.csv", ("id", "kind", "dimension", "verdict", "n", "planned", "text"), decided),
    ]


def _write_cells(table: Table, path: Path) -> Path:
    header = ("key", "model", "condition", "prompt", "category", "replicate", "status", "reason", *table.dimensions)
    rows = (
        (*(getattr(cell, name) for name in header[:6]), fate.status, fate.reason, *(decimal(score) for score in scores))
        for cell, fate, scores in zip(table.cells, table.fates, table.scores.tolist(), strict=True)
    )
    return write_csv(path, header, rows)


def _write_counts(table: Table, path: Path) -> Path:
    rows = []
    for (model, condition), group in table.by("model", "condition").items():
        reasons = group.reasons(*(status for status in STATUSES if status != SCORED))
        why = "; ".join(f"{reason}: {count}" for reason, count in reasons.items())
        rows.append((model, condition, len(group.cells), *(group.count(status) for status in STATUSES), why))
    return write_csv(path, ("model", "condition", "planned", *STATUSES, "reasons"), rows)
