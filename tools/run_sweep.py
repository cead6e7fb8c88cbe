"""Ask the missing cells of an experiment."""

from __future__ import annotations

from typing import Any

from nightlab.errors import NightlabError
from nightlab.evidence.progress import RUNS
from nightlab.experiments.freeze import verify
from nightlab.experiments.plan import Plan
from nightlab.runs.freeze import verify_run
from nightlab.runs.plan import RunPlan, kind_of
from nightlab.toolbox import ToolContext, tool


@tool(effect="compute")
async def run_sweep(ctx: ToolContext, experiment: str, models: list[str]) -> dict[str, Any]:
    """Ask every cell of these models that has no answer yet, each on its proven server. Returns at once.

    `wait` for the handles. Only missing cells are asked, so it can be called again at any time. The plan must be
    frozen. An experiment of `kind: run` has no models: its missing runs are made, as jobs.

    Args:
        experiment: The experiment's name.
        models: Short names of models whose servers are ready; ["runs"] for `kind: run`.

    Returns:
        handles: one for each model, to wait for.
    """
    folder = ctx.lab.experiment(experiment)
    ctx.in_scope(folder / "samples.jsonl")
    if kind_of(folder) == "run":
        verify_run(RunPlan.load(folder))
        names = [RUNS]
    else:
        plan = Plan.load(folder)
        verify(plan)
        names = [plan.model(name).name for name in models]
    if not names:
        raise NightlabError("no model to sweep", hint="name models whose servers are ready")
    handles = [f"sweep:{folder.name}:{name}" for name in names]
    for handle in handles:
        ctx.works.forget(handle)
        ctx.works.ensure(handle)
    return {"experiment": folder.name, "handles": handles}
