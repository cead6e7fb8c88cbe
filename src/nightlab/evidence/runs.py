"""From the rows of an experiment of `kind: run` to metrics with intervals, verdicts, claims and its report.

A mean is over the replicates of one point of the grid, with a bootstrap interval over them (stats.py); below 3 it is an
anecdote without one. A prediction compares two points, paired by replicate (the same seed): the one-sided 95 % bound
of Student's t on the differences decides it. Planned = measured + failed + not run, each counted from the frozen plan.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from nightlab.errors import ConservationError, FrozenError
from nightlab.evidence.context import Context, choose, read_context
from nightlab.evidence.design import QueryError
from nightlab.evidence.intervals import t_quantile
from nightlab.evidence.peaks import TEST
from nightlab.evidence.reproduce import write_reproduce
from nightlab.evidence.rows import read_rows
from nightlab.evidence.stats import ANECDOTE, RESAMPLES, Estimate, mean_ci
from nightlab.evidence.summary import write_csv
from nightlab.experiments.lock import Lock, read_lock
from nightlab.experiments.plan import CONFIG
from nightlab.files import write_atomic
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
class RunClaim:
    """A decided hypothesis as a sentence."""

    id: str
    hypothesis: str
    verdict: str
    sentence: str
    n: int
    planned: int
    holds: str
    confirmatory: bool = True

    def document(self) -> dict[str, Any]:
        """The claim as claims.yaml holds it."""
        names = ("id", "hypothesis", "verdict", "sentence", "holds", "n", "planned", "confirmatory")
        return {name: getattr(self, name) for name in names}


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
        return tuple(
            RunClaim(f"c{number}", v.id, v.verdict, f"{v.statement} ({v.verdict}: {v.text})", v.n, v.planned,
                     f'verdict("{v.id}") == "{v.verdict}"')
            for number, v in enumerate(self.verdicts, 1)
            if v.verdict != "undecided"
        )  # fmt: skip

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
        if self.config.search is not None:
            found.append("the best was chosen among candidates: its metric is biased towards better, repeat it")
        return found

    @property
    def measured(self) -> int:
        """Planned runs with metrics."""
        return sum(cell.key in self.rows for cell in self.cells)

    def estimate(self, point: Params, metric: str) -> Estimate:
        """The mean of a metric at a point, over its replicates."""
        values = self._values(point, metric)
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
            "claims": [{"id": c.id, "hypothesis": c.hypothesis, "verdict": c.verdict, "value": c.sentence}
                       for c in self.claims],
            "metrics": [self._means(point) for point in self.points],
            "decisions": [{"params": d.params, "verdict": d.verdict, "gain": d.gain} for d in self.decisions],
            "peaks": {},
            "figures": [],
            "titles": [],
            "deviations": self.deviations,
            "caveats": self.caveats,
        }  # fmt: skip

    def _means(self, point: Params) -> dict[str, Any]:
        return {"params": dict(point), **{name: shown(self.estimate(point, name)) for name in self.config.metrics}}

    def why_not(self, cell: RunCell) -> str:
        """Why a run has no metrics."""
        return str(self.failures[cell.key]["class"]) if cell.key in self.failures else "not run"

    def _values(self, point: Params, metric: str) -> dict[int, float]:
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
        left, right = self._values(asked.left, asked.metric), self._values(asked.right, asked.metric)
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


def is_run(folder: Path) -> bool:
    """Whether a frozen experiment is of `kind: run`."""
    lock = read_lock(folder)
    return lock is not None and lock.document["plan"].get("kind") == "run"


def analyze_runs(
    folder: Path,
    *,
    events: Iterable[Mapping[str, Any]] = (),
    cost: Mapping[str, float] | None = None,
    resamples: int = RESAMPLES,
) -> RunAnalysis:
    """Analyse an experiment folder and write tables/, claims.yaml, evidence.json and reproduce.py into it.

    Raises FrozenError (no frozen plan), ConservationError (rows lost or doubled).
    """
    choose(folder.name, events, cost, resamples).write(folder)
    write_reproduce(folder)
    return analyze_runs_again(folder)


def analyze_runs_again(folder: Path, into: Path | None = None) -> RunAnalysis:
    """The same with the snapshot that the last analysis kept; `into` is where the files go, else the folder itself."""
    analysis = _read(folder, read_context(folder))
    place = into or folder
    claims = {"claims": [claim.document() for claim in analysis.claims]}
    write_atomic(place / "claims.yaml", yaml.safe_dump(claims, sort_keys=False, allow_unicode=True, width=120))
    _write_tables(analysis, place / "tables")
    return analysis


def _read(folder: Path, context: Context) -> RunAnalysis:
    lock = read_lock(folder)
    if lock is None:
        raise FrozenError("the plan is not frozen, so nothing can be counted against it", where=folder)
    config = RunConfig.model_validate(lock.document["plan"])
    plan = RunPlan(folder, folder, config)
    found = read_rows(folder)
    cells = plan.grid(frozen_inputs(lock))
    if config.search is not None:
        cells = _searched(plan, found.samples, lock, cells)
    unplanned = set(found.samples) - {cell.key for cell in cells}
    if unplanned:
        hint = "rows of another plan stand in this folder: restore samples.jsonl from git"
        raise ConservationError(f"{len(unplanned)} runs were never planned", where=folder, hint=hint)
    now = RunPlan.load(folder) if (folder / CONFIG).exists() else plan
    kept = RunPlan(folder, now.root, config)
    return RunAnalysis(folder, kept, lock, tuple(cells), found.samples, found.failures, found.failed_attempts, context)


def _searched(plan: RunPlan, rows: Mapping[str, Row], lock: Lock, grid: Sequence[RunCell]) -> list[RunCell]:
    """Of a search: the grid's runs that were made, and the repeats of the baseline."""
    search = plan.config.search
    if search is None:
        raise QueryError("the plan has no search")
    ordered = {name: search.baseline[name] for name in plan.config.parameters}
    count = max(search.repeats, plan.config.replicates)
    base = [plan.cell(ordered, number, frozen_inputs(lock)) for number in range(count)]
    known = {cell.key for cell in base}
    return [*base, *(cell for cell in grid if cell.key in rows and cell.key not in known)]


def _write_tables(analysis: RunAnalysis, place: Path) -> None:
    config = analysis.config
    names = [*config.parameters]
    runs, means = [], []
    for cell in analysis.cells:
        row = analysis.rows.get(cell.key)
        values = [row["metrics"].get(name, "") if row else "" for name in config.metrics]
        status = "measured" if row else analysis.why_not(cell)
        runs.append((cell.key, *(cell.params[name] for name in names), cell.replicate, cell.seed, status, *values))
    for point in analysis.points:
        for metric in config.metrics:
            e = analysis.estimate(point, metric)
            bounds = [f"{value:.6g}" if value == value else "" for value in (e.value, e.low, e.high)]
            means.append((*(point[name] for name in names), metric, *bounds, e.n, e.planned))
    write_csv(place / "runs.csv", ("key", *names, "replicate", "seed", "status", *config.metrics), runs)
    write_csv(place / "metrics.csv", (*names, "metric", "mean", "low", "high", "n", "planned"), means)
    decided = [(v.id, v.metric, v.verdict, v.n, v.planned, v.text) for v in analysis.verdicts]
    write_csv(place / "verdicts.csv", ("id", "metric", "verdict", "n", "planned", "text"), decided)
    if config.search is not None:
        steps = [(*(d.params[name] for name in names), d.verdict, f"{d.value:.6g}", f"{d.gain:.6g}", f"{d.needed:.6g}")
                 for d in analysis.decisions]  # fmt: skip
        write_csv(place / "decisions.csv", (*names, "verdict", "value", "gain", "needed"), steps)
