"""What the runs of a plan would take, before they start."""

from __future__ import annotations

import contextlib
from statistics import median

from nightlab.experiments.samples import Samples
from nightlab.runs.plan import RunConfig, RunPlan
from nightlab.runs.standing import missing_runs
from nightlab.runs.starting import needs


def estimate_runs(plan: RunPlan) -> str:
    """The grid, how many runs are missing, and the time from the runs that were made, else the most it may be."""
    config = plan.config
    with contextlib.closing(Samples(plan.folder)) as samples:
        rows = list(samples.rows())
        missing = missing_runs(plan, samples)
    grid = " x ".join(f"{name} {list(levels)}" for name, levels in config.parameters.items())
    each = median(float(row["seconds"]) for row in rows) if rows else config.timeout_seconds
    seconds = each * -(-len(missing) // config.max_parallel)
    basis = f"from {len(rows)} runs" if rows else "at most: the time limit of each"
    search = ", a search: more runs follow from what these give" if config.search else ""
    return (
        f"{plan.name}: {grid} x {config.replicates} replicates; {len(rows)} made, {len(missing)} missing{search}\n"
        f"About {seconds:.0f} s with {config.max_parallel} side by side ({basis}). Local runs cost their time alone.\n"
        f"{_gpus(config)}\nCommand: {' '.join(config.command)}"
    )


def _gpus(config: RunConfig) -> str:
    if config.gpus:
        return f"{needs(config).capitalize()}, {config.gpus * config.max_parallel} in all side by side."
    return "Runs see no GPU (`gpus: 1` in the plan asks for one each)."
