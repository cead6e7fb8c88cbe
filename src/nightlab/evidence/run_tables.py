"""The tables of an experiment of `kind: run`: every run, every mean, every verdict, every step of a search."""

from __future__ import annotations

from pathlib import Path

from nightlab.evidence.run_analysis import RunAnalysis
from nightlab.evidence.summary import write_csv


def write_run_tables(analysis: RunAnalysis, place: Path) -> None:
    """Write them into a folder."""
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
