"""Score the samples of an experiment, blind."""

from __future__ import annotations

from typing import Any

from nightlab.experiments.freeze import verify
from nightlab.experiments.plan import Plan
from nightlab.runs.plan import kind_of
from nightlab.toolbox import ToolContext, ToolFailure, tool


@tool(effect="money")
async def run_judges(ctx: ToolContext, experiment: str) -> dict[str, Any]:
    """Have every sample that lacks a judgment scored by the plan's rubric and judge. Returns at once.

    `wait` for the handle. Judges see shuffled packets without model, condition or hypothesis. A judge that reads is
    first tried on a pilot, which asks the human and goes on without a reply. In the wait's result, `doubts` says why
    batches were rejected by their known items, `escalated` how many judgments were given up: then do not call again,
    find out why.
    For a plan with `stop.max_replicates` the result has a `look`: where its `more` names models, sweep those again and
    judge again.

    Args:
        experiment: The experiment's name.

    Returns:
        handle, to wait for; judge, who scores.
    """
    folder = ctx.lab.experiment(experiment)
    if kind_of(folder) == "run":
        raise ToolFailure("nothing_to_judge", f"{folder.name} measures its runs by code", "analyze it")
    plan = Plan.load(folder)
    ctx.in_scope(plan.folder / "judgments.jsonl")
    verify(plan)
    handle = f"judges:{plan.name}"
    ctx.works.forget(handle)
    ctx.works.ensure(handle)
    return {"experiment": plan.name, "handle": handle, "judge": plan.judge.by}
