"""Turn the rows of an experiment into numbers."""

from __future__ import annotations

import asyncio
from typing import Any

from nightlab.night.contradictions import raise_contradictions
from nightlab.night.reporting import analyze_experiment
from nightlab.toolbox import ToolContext, tool


@tool(effect="write")
async def analyze(ctx: ToolContext, experiment: str) -> dict[str, Any]:
    """Compute tables, intervals, verdicts on the hypotheses, claims and figures from the rows.

    Args:
        experiment: The experiment's name.

    Returns:
        counts (planned, answered, judged, not counted and why), verdicts, claims, figures, deviations and caveats;
        a claim says which claims of other experiments it contradicts, and asked holds the questions about them.
    """
    folder = ctx.lab.experiment(experiment)
    ctx.in_scope(folder / "report.md")
    name = folder.name
    analysis = await asyncio.to_thread(analyze_experiment, ctx.lab, name)
    document = analysis.document()
    verdicts = [
        {"id": v.id, "statement": v.statement, "verdict": v.verdict, "because": v.text} for v in analysis.verdicts
    ]
    counts = {key: document[key] for key in ("planned", "answered", "judged")}
    ctx.events.once(ctx.call_id, "analysis", experiment=name, **counts, verdicts=document["verdicts"])
    asked = raise_contradictions(ctx.lab, ctx.night, ctx.events, name, analysis.claims)
    return document | {"verdicts": verdicts, "asked": asked}
