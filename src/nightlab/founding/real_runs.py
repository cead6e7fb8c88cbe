"""What the real runs of a plan would take: how many, how long, how many GPU-hours, what they cost.

The time of a run is the median of those that this lab made of the same command, else the plan's time limit: then it is
the most that they can take. A search makes no more runs than said here.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from nightlab.errors import NightlabError
from nightlab.experiments.samples import Samples
from nightlab.founding.real_night import RealNight, gpu_price
from nightlab.lab import Lab
from nightlab.runs.plan import RunConfig, RunPlan, kind_of


def real_runs(lab: Lab, plan: RunPlan) -> RealNight:
    """The estimate of a plan of `kind: run` in this lab."""
    config = plan.config
    count, told = _count(config)
    times = [float(row["seconds"]) for row in _made(lab, plan)]
    each = median(times) if times else config.timeout_seconds
    basis = f"the median of {len(times)} runs of this lab" if times else "the plan's time limit"
    hours = each * -(-count // config.max_parallel) / 3600
    gpu_hours = count * config.gpus * each / 3600
    usd, priced = gpu_price(lab, gpu_hours)
    lines = (
        told,
        f"time: {count} runs x {each:.0f} s ({basis}), {config.max_parallel} side by side = {hours:.2f} h",
        f"GPU: {count} runs x {config.gpus} x {each:.0f} s = {priced}; no model is asked, no judge is paid",
    )
    return RealNight((), 0, 0, gpu_hours, hours, usd, 0.0, lines, runs=count)


def _count(config: RunConfig) -> tuple[int, str]:
    """The most runs that are made, and how they come about."""
    sizes = {name: len(levels) for name, levels in config.parameters.items()}
    if config.search is None:
        count = config.replicates
        for size in sizes.values():
            count *= size
        grid = " x ".join(f"{size} {name}" for name, size in sizes.items())
        return count, f"grid: {grid} x {config.replicates} replicates = {count} runs"
    base = max(config.search.repeats, config.replicates)
    steps = sum(size - 1 for size in sizes.values())
    count = base + config.search.rounds * steps * config.replicates
    said = f"search: {base} of the baseline + {config.search.rounds} rounds x {steps} changes x {config.replicates} "
    return count, f"{said}replicates = {count} runs at most"


def _made(lab: Lab, plan: RunPlan) -> Iterator[dict[str, Any]]:
    """The runs that this lab made of the same command."""
    for name in lab.experiment_names():
        folder = lab.experiments / name
        try:
            same = kind_of(folder) == "run" and RunPlan.load(folder).config.command == plan.config.command
        except NightlabError:
            continue  # a plan that cannot be read measures nothing
        if same:
            yield from Samples(folder).rows()
