"""Ask the missing cells of an experiment."""

from __future__ import annotations

from typing import Any

from nightlab.errors import NightlabError
from nightlab.experiments.freeze import verify
from nightlab.experiments.plan import Plan
from nightlab.toolbox import ToolContext, tool


@tool(effect="compute")
async def run_sweep(ctx: ToolContext, experiment: str, models: list[str]) -> dict[str, Any]:
    """Ask every cell of these models that has no answer yet, each on its proven server. Returns at once.

    `wait` for the handles. Only missing cells are asked, so it can be called again at any time. The plan must be
    frozen.

    Args:
        experiment: The experiment's name.
        models: Short names of models whose servers are ready.

    Returns:
        handles: one for each model, to wait for.
    """
    plan = Plan.load(ctx.lab.experiment(experiment))
    ctx.in_scope(plan.folder / "samples.jsonl")
    verify(plan)
    if not models:
        raise NightlabError("no model to sweep", hint="name models whose servers are ready")
    handles = [f"sweep:{plan.name}:{plan.model(name).name}" for name in models]
    for handle in handles:
        ctx.works.forget(handle)
        ctx.works.ensure(handle)
    return {"experiment": plan.name, "handles": handles}
