"""All that the rows of an experiment of `kind: run` say: metrics with intervals, verdicts, claims.

A mean is over the replicates of one point of the grid, with a bootstrap interval over them (stats.py); below 3 it is an
anecdote without one. A prediction compares two points, paired by replicate (the same seed): the one-sided 95 % bound
of Student's t on the differences decides it. Planned = measured + failed + not run, each counted from the frozen plan.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from nightlab.evidence.context import Context
from nightlab.evidence.figure_files import Figure
from nightlab.evidence.intervals import t_quantile
from nightlab.evidence.peaks import TEST
from nightlab.evidence.run_claims import RunClaim, asserted, predicted
from nightlab.evidence.stats import ANECDOTE, Estimate, mean_ci
from nightlab.experiments.lock import Lock
from nightlab.runs.freeze import deviations_of, frozen_inputs
from nightlab.runs.plan import Params, RunCell, RunConfig, RunHypothesis, RunPlan
from nightlab.runs.search import Decision, search_state

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RunVerdict:
    """What the runs say about one hypothesis."""

    id: str
    statement: str
    metric: str
    verdict: str
    text: str
    n: int
    planned: int


@dataclass(frozen=True)
class RunAnalysis:
    """All that the rows of one experiment say."""

    folder: Path
    plan: RunPlan
    lock: Lock
    cells: tuple[RunCell, ...]
    rows: Mapping[str, Row]
    failures: Mapping[str, Row]
    attempts: int
    context: Context
    figures: tuple[Figure, ...] = ()

    @property
    def experiment(self) -> str:
        """Its name."""
        return self.folder.name

    @property
    def config(self) -> RunConfig:
        """The frozen configuration."""
        return self.plan.config

    @cached_property
    def points(self) -> list[Params]:
        """The points of the grid that were planned, in order."""
        return [dict(point) for point in dict.fromkeys(tuple(cell.params.items()) for cell in self.cells)]

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """The steps of the search, where the plan has one."""
        if self.config.search is None:
            return ()
        return search_state(self.plan, self.rows, frozenset(self.failures) - frozenset(self.rows)).decisions

    @cached_property
    def verdicts(self) -> tuple[RunVerdict, ...]:
        """The verdict on every frozen hypothesis."""
        return tuple(self._verdict(hypothesis) for hypothesis in self.config.hypotheses)

    @cached_property
    def claims(self) -> tuple[RunClaim, ...]:
        """One for each decided hypothesis; ids follow the plan's order."""
        pairs = zip(self.config.hypotheses, self.verdicts, strict=True)
        return tuple(
            self._claim(f"c{number}", hypothesis, verdict)
            for number, (hypothesis, verdict) in enumerate(pairs, 1)
            if verdict.verdict != "undecided"
        )

    def _claim(self, name: str, hypothesis: RunHypothesis, verdict: RunVerdict) -> RunClaim:
        inputs = frozen_inputs(self.lock)
        return RunClaim(
            name,
            verdict.id,
            verdict.verdict,
            f"{verdict.statement} ({verdict.verdict}: {verdict.text})",
            verdict.n,
            verdict.planned,
            f'verdict("{verdict.id}") == "{verdict.verdict}"',
            confirmatory=not self.exploratory,
            predicted=predicted(self.config, inputs, hypothesis),
            asserts=asserted(self.config, inputs, hypothesis, verdict.verdict),
            against=self.context.against.get(name, ()),
        )

    @cached_property
    def exploratory(self) -> str:
        """Why nothing of this experiment is confirmatory; empty where its claims are."""
        if self.config.search is not None:
            return "a search chose its runs by what they gave"
        if self.deviations:
            return "the plan changed after it was frozen"
        return self.early

    @cached_property
    def early(self) -> str:
        """How many runs were made, or failed, before the plan was frozen; empty where none was."""
        rows = [*self.rows.items(), *self.failures.items()]
        old = {key for key, row in rows if str(row.get("t", "")) < self.lock.frozen}
        return f"{len(old)} of {len(dict(rows))} runs are older than the frozen plan" if old else ""

    @cached_property
    def deviations(self) -> list[str]:
        """What differs between the plan as it is now and as it was frozen."""
        return deviations_of(self.plan, self.lock)

    @cached_property
    def caveats(self) -> list[str]:
        """What a reader must keep in mind."""
        found = []
        if (lost := len(self.cells) - self.measured) > 0:
            found.append(f"{lost} of {len(self.cells)} planned runs have no metrics; means rest on the others")
        if self.config.replicates < ANECDOTE:
            found.append("fewer than 3 replicates: means are anecdotes and have no interval")
        if len(self.verdicts) > 1:
            found.append(f"{len(self.verdicts)} hypotheses were tested, none is corrected for the others")
        if self.exploratory:
            found.append(f"every result here is exploratory: {self.exploratory}")
        if self.config.search is not None:
            found.append("the best was chosen among candidates: its metric is biased towards better, repeat it")
        return found

    @property
    def measured(self) -> int:
        """Planned runs with metrics."""
        return sum(cell.key in self.rows for cell in self.cells)

    def estimate(self, point: Params, metric: str) -> Estimate:
        """The mean of a metric at a point, over its replicates."""
        values = self.values(point, metric)
        return mean_ci(list(values.values()), resamples=self.context.resamples, seed=self.config.seed)

    def document(self) -> dict[str, Any]:
        """A short JSON value for tools, events and briefs."""
        return {
            "experiment": self.experiment,
            "planned": len(self.cells),
            "answered": self.measured,
            "judged": self.measured,
            "not_counted": dict(Counter(self.why_not(cell) for cell in self.cells if cell.key not in self.rows)),
            "verdicts": {v.id: v.verdict for v in self.verdicts},
            "because": {v.id: v.text for v in self.verdicts},
            "claims": [{"id": c.id, "hypothesis": c.hypothesis, "verdict": c.verdict, "value": c.sentence,
                        "against": [other.document() for other in c.against]} for c in self.claims],
            "metrics": [self._means(point) for point in self.points],
            "decisions": [{"params": d.params, "verdict": d.verdict, "gain": d.gain} for d in self.decisions],
            "peaks": {},
            "figures": [figure.png for figure in self.figures],
            "titles": [figure.title for figure in self.figures],
            "deviations": self.deviations,
            "caveats": self.caveats,
        }  # fmt: skip

    def _means(self, point: Params) -> dict[str, Any]:
        return {"params": dict(point), **{name: shown(self.estimate(point, name)) for name in self.config.metrics}}

    def why_not(self, cell: RunCell) -> str:
        """Why a run has no metrics."""
        return str(self.failures[cell.key]["class"]) if cell.key in self.failures else "not run"

    def values(self, point: Params, metric: str) -> dict[int, float]:
        """The metric by replicate at a point, NaN where there is none; of a part of a point the mean over the rest."""
        found: dict[int, list[float]] = {}
        for cell in self.cells:
            if point.items() <= cell.params.items():
                row = self.rows.get(cell.key)
                value = math.nan if row is None else float(row["metrics"].get(metric, math.nan))
                found.setdefault(cell.replicate, []).append(value)
        return {number: fmean(values) for number, values in found.items()}

    def _verdict(self, hypothesis: RunHypothesis) -> RunVerdict:
        asked = hypothesis.prediction
        left, right = self.values(asked.left, asked.metric), self.values(asked.right, asked.metric)
        pairs = [left[number] - right[number] for number in left.keys() & right.keys()]
        known = [value for value in pairs if not math.isnan(value)]
        names = (hypothesis.id, hypothesis.statement, asked.metric)
        if len(known) < ANECDOTE:
            return RunVerdict(
                *names, "undecided", f"too few pairs: {len(known)} of {len(pairs)}", len(known), len(pairs)
            )
        mean = fmean(known)
        half = t_quantile(1 - TEST, len(known) - 1) * stdev(known) / math.sqrt(len(known))
        outcome = "supported" if mean - half >= asked.by else "contradicted" if mean + half < asked.by else "undecided"
        text = f"difference {mean:.4g} (between {mean - half:.4g} and {mean + half:.4g}); asked {asked.by:g}"
        return RunVerdict(*names, outcome, text, len(known), len(pairs))


def shown(estimate: Estimate) -> str:
    """An estimate with four significant digits, its interval and its count."""
    if estimate.n == 0:
        return f"no data, n=0 of {estimate.planned}"
    span = f" [{estimate.low:.4g}, {estimate.high:.4g}]" if estimate.has_interval else " (anecdote)"
    return f"{estimate.value:.4g}{span}, n={estimate.n} of {estimate.planned}"
