"""From the rows of an experiment of `kind: run` to its tables, figures, verdicts and claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from nightlab.errors import ConservationError, FrozenError
from nightlab.evidence.assertions import contradictions
from nightlab.evidence.context import Context, choose, read_context
from nightlab.evidence.design import QueryError
from nightlab.evidence.reproduce import write_reproduce
from nightlab.evidence.rows import read_rows
from nightlab.evidence.run_analysis import Row, RunAnalysis
from nightlab.evidence.run_figures import draw_runs
from nightlab.evidence.run_tables import write_run_tables
from nightlab.evidence.stats import RESAMPLES
from nightlab.experiments.lock import Lock, read_lock
from nightlab.experiments.plan import CONFIG
from nightlab.files import write_atomic
from nightlab.runs.freeze import frozen_inputs
from nightlab.runs.plan import RunCell, RunConfig, RunPlan


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
    others: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> RunAnalysis:
    """Analyse an experiment folder and write tables/, figs/, claims.yaml, evidence.json and reproduce.py into it.

    `others` are the claims of the lab's other experiments by the name they are cited with. Raises FrozenError (no
    frozen plan), ConservationError (rows lost or doubled).
    """
    context = choose(folder.name, events, cost, resamples)
    documents = [claim.document() for claim in _read(folder, context).claims]
    replace(context, against=contradictions(documents, others or {})).write(folder)
    write_reproduce(folder)
    return analyze_runs_again(folder)


def analyze_runs_again(folder: Path, into: Path | None = None, *, pictures: bool = True) -> RunAnalysis:
    """The same with the snapshot that the last analysis kept; `into` is where the files go, else the folder itself.

    Without `pictures` figures are csv files alone.
    """
    analysis = _read(folder, read_context(folder))
    place = into or folder
    claims = {"claims": [claim.document() for claim in analysis.claims]}
    write_atomic(place / "claims.yaml", yaml.safe_dump(claims, sort_keys=False, allow_unicode=True, width=120))
    write_run_tables(analysis, place / "tables")
    return replace(analysis, figures=draw_runs(analysis, place, pictures=pictures))


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
